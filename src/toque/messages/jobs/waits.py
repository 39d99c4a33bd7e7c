"""A job's wait for an event, as the database keeps it: begun, looked for, found, or given up. Once, whoever asks.

A wait begins as a step without a result. Whatever gives it one does so where there is none, in one statement: the job
itself looks once each time it comes to the step, and `Matching` compares what is published later. What was committed
before the job looked is found by the job, and what is committed after that is compared with a wait that is there. So
nothing is lost in between, and nothing is found twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from toque.messages.dialects import both
from toque.messages.job_tables import LATER, RUNNING, WAITING
from toque.messages.wait_tables import OPEN
from toque.store.closing import Row, Session, Superseded, literal
from toque.store.prepared import Prepared

__all__ = ["BEGIN", "PLACE", "WAITS", "WaitStatements"]

PLACE = "job waits"

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class _Begin:
    """Each row holds a job's id and fence, the step's number and name, the event's type and key, and for how many
    seconds it is waited for; and where the log is, should nobody have looked at it yet."""

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        return ";".join(_begin_sql(row) for row in rows)

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        for id, fence, number, name, type, key, seconds, cursor in rows:
            begun = connection.execute(_BEGIN_LITE, (number, name, type, key, seconds, str(id), fence))
            if begun.rowcount != 1:
                raise Superseded(f"another start of job {id} counts")
            connection.execute(_PLACE_LITE, (PLACE, cursor))


def _begin_sql(row: Row) -> str:
    *wait, cursor = row
    return (
        f"SELECT toque.record_wait({', '.join(map(literal, wait))});"
        f"INSERT INTO toque.job_wait_place (name, cursor) VALUES ({literal(PLACE)}, {literal(cursor)}) "
        "ON CONFLICT DO NOTHING"
    )


_BEGIN_LITE = f"""
INSERT INTO toque_job_step (job, number, name, awaits, key, since, until)
SELECT id, ?1, ?2, ?3, ?4, at, {_NOW} + ?5 FROM toque_job WHERE id = ?6 AND fence = ?7 AND state = {RUNNING}
"""
_PLACE_LITE = "INSERT INTO toque_job_wait_place (name, cursor) VALUES (?1, ?2) ON CONFLICT DO NOTHING"

BEGIN = _Begin()


class WaitStatements(NamedTuple):
    """One database's. Several to a name are run one after the other, with the same arguments."""

    find: Prepared
    """(job, number): end the wait by what was published since its job was enqueued, and no wait of it had."""
    give_up: Prepared
    """(job, number): end it by its time."""
    match: tuple[Prepared, ...]
    """(positions): end all waits for these events, and let their jobs go on; the first gives their queues and
    positions. A wait that has just begun may have missed
    an earlier one, and not have looked yet: then it gets that, as it would have found it."""
    is_open: Prepared
    """Whether there is any."""
    place: Prepared
    """(name): how far the log was compared."""
    move: Prepared
    """(name, cursor): note that."""


def _system(sql: str, *, is_write: bool = True) -> Prepared:
    return Prepared(sql, is_write, is_system=True)


# What a job had once it does not have again: two waits for one key get two events.
_FITS = """
    e.type = {w}.awaits AND e.key = {w}.key AND e.at >= {w}.since
    AND NOT EXISTS (SELECT 1 FROM {step} AS o WHERE o.job = {w}.job AND o.event = e.id)
"""
_FITS_PG = _FITS.format(w="w", step="toque.job_step")
_FITS_LITE = _FITS.format(w="s", step="toque_job_step")
_EACH_LITE = "(SELECT value FROM json_each(?1))"
_FOUND_LITE = "SELECT {} FROM toque_event AS e WHERE {} " + _FITS_LITE + " ORDER BY e.pos LIMIT 1"
_SET_LITE = "result = ({}), version = ({}), event = ({})".format(
    *(_FOUND_LITE.format(column, "{0}") for column in ("e.data", "e.version", "e.id"))
)
_IS_OPEN = both(f"SELECT EXISTS (SELECT 1 FROM toque.job_step WHERE {OPEN})")
_GIVE_UP = "UPDATE {} SET result = 'null' WHERE job = {} AND number = {} AND until <= {} AND " + OPEN
_AT = both("SELECT cursor FROM toque.job_wait_place WHERE name = $1")
_MOVE = both(
    "INSERT INTO toque.job_wait_place (name, cursor) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
    True,
)

WAITS = {
    "postgresql": WaitStatements(
        find=_system(
            f"""
            UPDATE toque.job_step AS s SET result = found.data, version = found.version, event = found.id
            FROM (
                SELECT e.data, e.version, e.id FROM toque.job_step AS w JOIN toque.event AS e ON {_FITS_PG}
                WHERE w.job = $1::text::uuid AND w.number = $2 ORDER BY e.pos LIMIT 1
            ) AS found
            WHERE s.job = $1::text::uuid AND s.number = $2 AND s.{OPEN.replace("AND ", "AND s.")}
            """
        ),
        give_up=_system(_GIVE_UP.format("toque.job_step", "$1::text::uuid", "$2", "clock_timestamp()")),
        # Jobs first, as whoever ends or cancels one does; and the row itself is told, so that one who is putting the
        # job to sleep at this moment finds it woken.
        match=(
            _system(
                f"""
                WITH hit AS (
                    SELECT w.job, w.number, found.* FROM (
                        SELECT DISTINCT w.job, w.number, w.awaits, w.key, w.since
                        FROM toque.event AS e JOIN toque.job_step AS w ON {_FITS_PG}
                        WHERE e.pos = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
                          AND w.{OPEN.replace("AND ", "AND w.")}
                    ) AS w CROSS JOIN LATERAL (
                        SELECT e.data, e.version, e.id FROM toque.event AS e WHERE {_FITS_PG} ORDER BY e.pos LIMIT 1
                    ) AS found
                ), held AS MATERIALIZED (
                    SELECT j.id FROM toque.job AS j WHERE j.id IN (SELECT job FROM hit) ORDER BY j.id FOR UPDATE
                ), told AS (
                    UPDATE toque.job_step AS s SET result = hit.data, version = hit.version, event = hit.id
                    FROM hit JOIN held ON held.id = hit.job
                    WHERE s.job = hit.job AND s.number = hit.number AND s.{OPEN.replace("AND ", "AND s.")}
                    RETURNING s.job
                )
                UPDATE toque.job AS j
                SET is_woken = j.state = {RUNNING}, state = CASE WHEN j.state = {LATER} THEN {WAITING} ELSE j.state END,
                    due = CASE WHEN j.state = {LATER} THEN clock_timestamp() ELSE j.due END
                FROM told WHERE j.id = told.job RETURNING j.queue, j.pos
                """
            ),
        ),
        is_open=_IS_OPEN["postgresql"],
        place=_AT["postgresql"],
        move=_MOVE["postgresql"],
    ),
    "sqlite": WaitStatements(
        find=_system(
            f"UPDATE toque_job_step AS s SET {_SET_LITE.format('')} "
            f"WHERE s.job = ?1 AND s.number = ?2 AND {OPEN} AND EXISTS ({_FOUND_LITE.format('1', '')})"
        ),
        give_up=_system(_GIVE_UP.format("toque_job_step", "?1", "?2", _NOW)),
        match=(
            _system(
                f"""
                UPDATE toque_job AS j
                SET is_woken = j.state = {RUNNING}, state = CASE WHEN j.state = {LATER} THEN {WAITING} ELSE j.state END,
                    due = CASE WHEN j.state = {LATER} THEN {_NOW} ELSE j.due END
                WHERE j.id IN (
                    SELECT s.job FROM toque_event AS e JOIN toque_job_step AS s ON {_FITS_LITE}
                    WHERE e.pos IN {_EACH_LITE} AND {OPEN}
                ) RETURNING queue, pos
                """
            ),
            _system(
                f"""
                UPDATE toque_job_step AS s SET {_SET_LITE.format("")}
                WHERE {OPEN} AND (s.awaits, s.key) IN (SELECT type, key FROM toque_event WHERE pos IN {_EACH_LITE})
                  AND EXISTS ({_FOUND_LITE.format("1", f"e.pos IN {_EACH_LITE} AND")})
                """
            ),
        ),
        is_open=_IS_OPEN["sqlite"],
        place=_AT["sqlite"],
        move=_MOVE["sqlite"],
    ),
}
