"""Writing jobs down: with the COMMIT of the command that enqueues them, any number in one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from toque.messages.job_tables import LATER, RUNNING, WAITING
from toque.store.closing import Row, Session, Superseded, Template, literal

__all__ = ["FINISH", "INSERT", "Batch"]


class Batch(Struct, frozen=True):
    """Jobs of one kind, enqueued together. They differ in their ids and inputs."""

    name: str
    queue: str
    priority: int
    key: str
    headers: str
    ids: Sequence[UUID]
    data: Sequence[bytes]
    delay_s: float = 0.0
    at: float | None = None
    """Seconds since 1970, instead of a delay."""
    share: str | None = None
    """The key, where keys have limits and no order."""
    unique: str | None = None
    unique_s: float = 0.0
    is_freed: bool = False
    """Whether its `unique` is free again as soon as it begins."""


_COLUMNS = "id, queue, name, state, priority, due, key, uniq, is_freed, headers, share, data"


class _Insert:
    """Each row holds one `Batch`."""

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        return ";".join(_sql(batch, session) for (batch,) in rows)

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        for (batch,) in rows:
            _run(connection, batch)


_ONE = f"""
INSERT INTO toque.job ({_COLUMNS})
SELECT $1, $2, $3, CASE WHEN due > clock_timestamp() THEN {LATER} ELSE {WAITING} END, $4, due, $5, $6, $7, $8, $9, $10
FROM (SELECT coalesce(to_timestamp($11), clock_timestamp() + make_interval(secs => $12)) AS due) AS moment
"""
_TYPES = "uuid, text, text, integer, text, text, boolean, text, text, text, float8, float8"
# What cannot meet another one is spared the search for it, a fifth of the price of a row.
_ALONE, _UNIQUE = Template(_ONE, _TYPES), Template(f"{_ONE} ON CONFLICT DO NOTHING", _TYPES)


def _sql(batch: Batch, session: Session) -> str:
    if len(batch.ids) > 1 or batch.unique_s > 0:
        return _in_full(batch)
    row = (
        *(batch.ids[0], batch.queue, batch.name, batch.priority, batch.key, batch.unique, batch.is_freed),
        *(batch.headers, batch.share, batch.data[0].decode(), batch.at, float(batch.delay_s)),
    )
    return session.say(_ALONE if batch.unique is None else _UNIQUE, row)


def _in_full(batch: Batch) -> str:
    due = f"to_timestamp({literal(batch.at)})" if batch.at is not None else _after(batch.delay_s)
    state = f"CASE WHEN {due} > clock_timestamp() THEN {LATER} ELSE {WAITING} END"
    if batch.at is None:
        state = str(LATER if batch.delay_s > 0 else WAITING)
    source, columns = f"(SELECT {literal(batch.ids[0])}, {literal(batch.data[0].decode())}) AS r(id, data)", ""
    if len(batch.ids) > 1:
        source, columns = _lines(batch), ""
    once = ""
    if batch.unique is not None and batch.unique_s > 0:
        once = (
            "WITH once AS (INSERT INTO toque.job_once AS o (name, uniq, until) VALUES "
            f"({literal(batch.name)}, {literal(batch.unique)}, {_after(batch.unique_s)}) "
            "ON CONFLICT (name, uniq) DO UPDATE SET until = excluded.until WHERE o.until <= clock_timestamp() "
            "RETURNING 1) "
        )
        columns = ", once"
    values = (
        f"r.id, {literal(batch.queue)}, {literal(batch.name)}, {state}, {literal(batch.priority)}, {due}, "
        f"{literal(batch.key)}, {literal(batch.unique)}, {literal(batch.is_freed)}, {literal(batch.headers)}, "
        f"{literal(batch.share)}, r.data"
    )
    unless = "" if batch.unique is None else " ON CONFLICT DO NOTHING"
    return f"{once}INSERT INTO toque.job ({_COLUMNS}) SELECT {values} FROM {source}{columns}{unless}"


def _lines(batch: Batch) -> str:
    """A line a job, its id and then its inputs: two thirds of what one JSON document costs the server, and half of
    what it costs this process."""
    # Strings of JSON have no line breaks (RFC 8259, 7). What an author brings along encoded has them between tokens,
    # where they mean as much as a space.
    texts = [data.decode().replace("\n", " ") for data in batch.data]
    lines = "\n".join([f"{id.int:032x}{text}" for id, text in zip(batch.ids, texts, strict=True)])
    split = f"unnest(string_to_array({literal(lines)}, chr(10))) AS line"
    return f"(SELECT left(line, 32)::uuid AS id, right(line, -32) AS data FROM {split}) AS r"


def _after(seconds: float) -> str:
    return f"clock_timestamp() + make_interval(secs => {literal(float(seconds))})"


_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
_ONCE_LITE = f"""
INSERT INTO toque_job_once (name, uniq, until) VALUES (?1, ?2, {_NOW} + ?3)
ON CONFLICT (name, uniq) DO UPDATE SET until = excluded.until WHERE toque_job_once.until <= {_NOW}
"""
_INSERT_LITE = f"""
INSERT INTO toque_job ({_COLUMNS})
SELECT ?1, ?2, ?3, CASE WHEN due > {_NOW} THEN {LATER} ELSE {WAITING} END, ?4, due, ?5, ?6, ?7, ?8, ?9, ?10
FROM (SELECT coalesce(?11, {_NOW} + ?12) AS due) WHERE true ON CONFLICT DO NOTHING
"""


def _run(connection: sqlite3.Connection, batch: Batch) -> None:
    if batch.unique is not None and batch.unique_s > 0:
        once = (batch.name, batch.unique, batch.unique_s)
        if connection.execute(_ONCE_LITE, once).rowcount == 0:
            return
    # The clock of a statement stands still: due is now, and so not later, where there is no delay.
    rest: tuple[Any, ...] = (
        *(batch.queue, batch.name, batch.priority, batch.key, batch.unique, batch.is_freed, batch.headers),
        batch.share,
    )
    connection.executemany(
        _INSERT_LITE,
        (
            (str(id), *rest, data.decode(), batch.at, batch.delay_s)
            for id, data in zip(batch.ids, batch.data, strict=True)
        ),
    )


INSERT = _Insert()


class _Finish:
    """Each row holds a job's id and fence, its result (None where none is kept) and for how long that is kept.

    What the job did is committed together with its end, and only by the start of it that counts.
    """

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        return ";".join(_finish_sql(session, *row) for row in rows)

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        for id, fence, result, keep_s in rows:
            if keep_s:
                connection.execute(_KEEP_LITE, (str(id), fence, result, keep_s))
            gone = connection.execute(
                f"DELETE FROM toque_job WHERE id = ? AND fence = ? AND state = {RUNNING}",
                (str(id), fence),
            )
            if gone.rowcount != 1:
                raise Superseded(f"another start of job {id} counts")


_KEEP_LITE = f"""
INSERT INTO toque_job_result (id, name, outcome, headers, result, at, until)
SELECT id, name, 'done', headers, ?3, at, {_NOW} + ?4 FROM toque_job WHERE id = ?1 AND fence = ?2
ON CONFLICT DO NOTHING
"""


_DONE = Template("SELECT toque.finish_job($1, $2)", "uuid, bigint")
_KEEP = Template(
    """
    INSERT INTO toque.job_result (id, name, outcome, headers, result, at, until)
    SELECT id, name, 'done', headers, $2, at, clock_timestamp() + make_interval(secs => $3) FROM toque.job
    WHERE id = $1 ON CONFLICT DO NOTHING
    """,
    "uuid, text, float8",
)


def _finish_sql(session: Session, id: UUID, fence: int, result: str | None, keep_s: float) -> str:
    done = session.say(_DONE, (id, fence))
    return f"{session.say(_KEEP, (id, result, float(keep_s)))};{done}" if keep_s else done


FINISH = _Finish()
