"""What is asked of the jobs' table, in the words of each database.

Lists go in as JSON documents, so that one statement takes as many rows as there are and both databases take the same.
To claim and to finish are statements apart: fused into one, two workers that do both at once deadlock.
"""

from __future__ import annotations

from typing import NamedTuple

from toque.log.pace import CLOCK
from toque.messages.floor_tables import known
from toque.messages.job_tables import LATER, RUNNING, WAITING
from toque.messages.jobs.job import SUSPECT_FROM
from toque.messages.jobs.lines import CROWDED, IS_AT_PLACE, ORDER, PLACES, TAKEN
from toque.messages.jobs.own import prepared
from toque.store.prepared import Prepared

__all__ = ["ERRORS_CHARS_MAX", "STARTED", "STARTED_LITE", "STATEMENTS", "Statements"]

ERRORS_CHARS_MAX = 8192
"""What is kept of a job's failures: the last of them with their tracebacks, some eighty lines."""


class Statements(NamedTuple):
    """One database's. Several to a name are run one after the other, with the same arguments."""

    number: Prepared
    """A number that no worker has had."""
    look: Prepared
    """(queues, names, worker): which queues have something to begin, whether a line has to be followed, the seconds
    until something else is due, which queues are crowded, whose jobs run, and those of *worker*. On PostgreSQL (places,
    names, worker, whether it is whole, from which time on): between two times the first job of each place instead of
    the queues, of the last three nothing where it is not whole, and what `Floors.learn` is told."""
    promote: Prepared
    """(limit, and on PostgreSQL from which time on): let begin what is due: their queues and positions."""
    claim: Prepared
    """(queue, limit, worker, names, and on PostgreSQL places): jobs that begin now."""
    done: tuple[Prepared, ...]
    """(rows of id, fence, outcome, result, keep): they leave the table."""
    again: tuple[Prepared, ...]
    """(rows of id, fence, pause, refund, crash, error): they come again; their queues and positions."""
    dead: tuple[Prepared, ...]
    """(rows of id, fence, crash, error, reason): they are put aside."""
    progress: tuple[Prepared, ...]
    """(rows of id, fence, result): how far they are."""
    forget: tuple[Prepared, ...]
    """(rows of id): what steps they took, if they are gone. They are not where another start counts."""
    steps: Prepared
    """(job): the steps that are recorded of it: number, name, result, an event's version, and seconds until a wait is
    over."""
    begin: Prepared
    """(id, fence): note that a suspect, which was claimed, begins now."""
    held: Prepared
    """(worker): what it has claimed and not ended, and whether that had begun."""
    sweep: tuple[Prepared, ...]
    """(limit): delete what need not be kept any more."""


DEAD_KEPT_DAYS = 30
"""A month: a dead letter outlives a holiday."""

_RETURNING = "id, pos, name, key, priority, attempt, crashes, fence, headers, data, is_cancelled"

# PostgreSQL.

_ROWS = """
WITH r AS (
    SELECT * FROM json_to_recordset($1::json) AS r(
        id uuid, fence bigint, outcome text, result text, keep float8,
        pause float8, refund integer, crash integer, error text, reason text
    )
)
"""
_MINE = f"j.id = r.id AND j.fence = r.fence AND {known(RUNNING, 'j.')}"
# As a list they are looked up one by one: joined, a server that takes the table for empty begins there, and reads all.
_MINE_PG = f"j.id = ANY (ARRAY(SELECT id FROM r)) AND {_MINE}"
STARTED = f"CASE WHEN j.crashes < {SUSPECT_FROM} THEN clock_timestamp() END"
"""What is claimed begins soon, and others say so; only of a suspect it must be known."""
_OPEN = "NOT EXISTS (SELECT FROM toque.job_queue AS q WHERE q.name = {} AND q.is_paused)"

_POSTGRESQL = Statements(
    number=prepared("SELECT nextval('toque.job_worker')"),
    # An order and a limit have the index used, whatever is known of the table: asked with EXISTS alone, a server that
    # has not counted yet what was just enqueued reads all of it at every look. What runs is walked over once, and only
    # where somebody asks.
    look=prepared(
        f"""
        WITH running AS MATERIALIZED (
            SELECT worker, id, fence, is_cancelled FROM toque.job WHERE state = {RUNNING}
        )
        SELECT
            {CLOCK},
            (SELECT coalesce(json_agg(json_build_array(
                p.queue, p.rank, f.rank, f.pos, {_OPEN.format("p.queue")})), '[]')::text
             FROM {PLACES.format("$1")} CROSS JOIN LATERAL (
                SELECT 0 - j.priority AS rank, j.pos FROM toque.job AS j
                WHERE j.state = {WAITING} AND j.queue = p.queue AND {IS_AT_PLACE}
                  AND j.name = ANY (ARRAY(SELECT json_array_elements_text($2::json)))
                ORDER BY {ORDER} LIMIT 1
             ) AS f),
            EXISTS (SELECT FROM toque.job_left),
            (SELECT extract(epoch FROM min(due) - clock_timestamp())::float8 FROM toque.job
             WHERE state = {LATER} AND due >= to_timestamp($5::float8)),
            CASE WHEN $4::boolean THEN
                (SELECT coalesce(json_agg(q.queue), '[]')::text
                 FROM (SELECT DISTINCT p.queue FROM {PLACES.format("$1")}) AS q
                 WHERE {CROWDED.format(queue="q.queue")}) END,
            CASE WHEN $4::boolean THEN
                (SELECT coalesce(json_agg(DISTINCT worker), '[]')::text FROM running) END,
            CASE WHEN $4::boolean THEN
                (SELECT coalesce(json_agg(json_build_array(id, fence, is_cancelled)), '[]')::text FROM running
                 WHERE worker = $3::bigint) END,
            coalesce(pg_sequence_last_value('toque.job_pos_seq'), 0),
            pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
            pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
            {CLOCK}
        """,
        is_write=False,
    ),
    promote=prepared(
        f"""
        UPDATE toque.job SET state = {WAITING} WHERE id IN (
            SELECT id FROM toque.job
            WHERE state = {LATER} AND due <= clock_timestamp() AND due >= to_timestamp($2::float8)
            ORDER BY due LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        ) RETURNING queue, pos
        """
    ),
    claim=prepared(
        f"""
        WITH taken AS MATERIALIZED ({TAKEN["postgresql"]})
        UPDATE toque.job AS j SET state = {RUNNING}, worker = $3, fence = j.fence + 1, attempt = j.attempt + 1,
            started = {STARTED}, is_woken = false, uniq = CASE WHEN j.is_freed THEN NULL ELSE j.uniq END
        WHERE j.id = ANY (ARRAY(SELECT id FROM taken))
        RETURNING {", ".join(f"j.{name}" for name in _RETURNING.split(", "))},
            extract(epoch FROM j.at)::float8, extract(epoch FROM clock_timestamp() - j.due)::float8
        """
    ),
    done=(
        prepared(
            f"""
            {_ROWS}, gone AS (
                DELETE FROM toque.job AS j USING r WHERE {_MINE_PG} RETURNING j.*, r.outcome, r.result, r.keep
            )
            INSERT INTO toque.job_result (id, name, outcome, headers, result, at, until)
            SELECT id, name, outcome, headers, result, at, clock_timestamp() + make_interval(secs => keep)
            FROM gone WHERE keep > 0 ON CONFLICT DO NOTHING
            """
        ),
    ),
    again=(
        prepared(
            f"""
            {_ROWS} UPDATE toque.job AS j
            SET state = CASE WHEN r.pause > 0 AND NOT j.is_woken THEN {LATER} ELSE {WAITING} END,
                due = clock_timestamp() + make_interval(secs => CASE WHEN j.is_woken THEN 0 ELSE r.pause END),
                is_woken = false,
                attempt = j.attempt - r.refund, crashes = j.crashes + r.crash, worker = NULL,
                errors = right(j.errors || r.error, {ERRORS_CHARS_MAX})
            FROM r WHERE {_MINE_PG} RETURNING j.queue, j.pos
            """
        ),
    ),
    dead=(
        prepared(
            f"""
            {_ROWS}, gone AS (
                DELETE FROM toque.job AS j USING r WHERE {_MINE_PG} RETURNING j.*, r.error, r.reason, r.crash
            )
            INSERT INTO toque.job_dead
                (id, queue, name, priority, key, headers, data, attempt, crashes, reason, errors, at)
            SELECT id, queue, name, priority, coalesce(share, key), headers, data, attempt, crashes + crash, reason,
                right(errors || error, {ERRORS_CHARS_MAX}), at
            FROM gone ON CONFLICT DO NOTHING
            """
        ),
    ),
    progress=(prepared(f"{_ROWS} UPDATE toque.job AS j SET progress = r.result FROM r WHERE {_MINE_PG}"),),
    forget=(
        prepared(
            f"""
            {_ROWS} DELETE FROM toque.job_step AS s WHERE s.job = ANY (ARRAY(SELECT id FROM r))
            AND NOT EXISTS (SELECT FROM toque.job AS j WHERE j.id = s.job)
            AND NOT EXISTS (SELECT FROM toque.job_dead AS d WHERE d.id = s.job)
            """
        ),
    ),
    steps=prepared(
        "SELECT number, name, result, version, extract(epoch FROM until - clock_timestamp())::float8 "
        "FROM toque.job_step WHERE job = $1::text::uuid",
        is_write=False,
    ),
    begin=prepared(
        "UPDATE toque.job SET started = clock_timestamp() "
        f"WHERE id = $1::text::uuid AND fence = $2 AND {known(RUNNING)}"
    ),
    held=prepared(
        "SELECT id, fence, crashes, started IS NOT NULL FROM toque.job "
        f"WHERE worker = $1 AND state = {RUNNING} FOR NO KEY UPDATE SKIP LOCKED"
    ),
    sweep=(
        *(
            prepared(
                f"DELETE FROM toque.{table} WHERE ctid = ANY (ARRAY("
                f"SELECT ctid FROM toque.{table} WHERE until < clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED))"
            )
            for table in ("job_result", "job_once", "job_rate")
        ),
        prepared(
            f"""
            WITH gone AS (
                DELETE FROM toque.job_dead WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM toque.job_dead WHERE died < clock_timestamp() - interval '{DEAD_KEPT_DAYS} days'
                    LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id
            ), forgotten AS (DELETE FROM toque.job_step WHERE job IN (SELECT id FROM gone))
            SELECT FROM gone
            """
        ),
    ),
)

# SQLite.

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
STARTED_LITE = f"CASE WHEN crashes < {SUSPECT_FROM} THEN {_NOW} END"
_FIELDS = ("id", "fence", "outcome", "result", "keep", "pause", "refund", "crash", "error", "reason")
_EXTRACTED = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _FIELDS)
_R = f"(SELECT {_EXTRACTED} FROM json_each(?1)) AS r"
_OPEN_LITE = "NOT EXISTS (SELECT 1 FROM toque_job_queue AS q WHERE q.name = {} AND q.is_paused)"
_DELETE_LITE = prepared(
    f"DELETE FROM toque_job AS j WHERE EXISTS (SELECT 1 FROM {_R} WHERE {_MINE}) "
    "AND id IN (SELECT json_extract(value, '$.id') FROM json_each(?1))"
)

_OLDEST_LITE = (
    f"SELECT id FROM toque_job_dead WHERE died < {_NOW} - {DEAD_KEPT_DAYS * 86_400} ORDER BY died, id LIMIT ?1"
)

_SQLITE = Statements(
    number=prepared("INSERT INTO toque_job_worker DEFAULT VALUES RETURNING number"),
    look=prepared(
        f"""
        SELECT
            (SELECT json_group_array(value) FROM json_each(?1)
             WHERE EXISTS (SELECT 1 FROM toque_job AS j WHERE j.state = {WAITING} AND j.queue = value
                           AND j.name IN (SELECT value FROM json_each(?2)))
               AND {_OPEN_LITE.format("value")}),
            EXISTS (SELECT 1 FROM toque_job_left),
            (SELECT min(due) - {_NOW} FROM toque_job WHERE state = {LATER}),
            (SELECT json_group_array(value) FROM json_each(?1)
             WHERE {CROWDED.replace("toque.", "toque_").format(queue="value")}),
            (SELECT json_group_array(DISTINCT worker) FROM toque_job WHERE state = {RUNNING}),
            (SELECT json_group_array(json_array(id, fence, is_cancelled)) FROM toque_job
             WHERE state = {RUNNING} AND worker = ?3)
        """,
        is_write=False,
    ),
    promote=prepared(
        f"UPDATE toque_job SET state = {WAITING} WHERE pos IN "
        f"(SELECT pos FROM toque_job WHERE state = {LATER} AND due <= {_NOW} ORDER BY due LIMIT ?1) "
        "RETURNING queue, pos"
    ),
    claim=prepared(
        f"""
        UPDATE toque_job AS t SET state = {RUNNING}, worker = ?3, fence = fence + 1, attempt = attempt + 1,
            started = {STARTED_LITE}, is_woken = 0, uniq = CASE WHEN is_freed THEN NULL ELSE uniq END
        WHERE pos IN ({TAKEN["sqlite"]})
        RETURNING {_RETURNING}, at, {_NOW} - due
        """
    ),
    done=(
        prepared(
            f"""
            INSERT INTO toque_job_result (id, name, outcome, headers, result, at, until)
            SELECT j.id, j.name, r.outcome, j.headers, r.result, j.at, {_NOW} + r.keep
            FROM toque_job AS j JOIN {_R} ON {_MINE} WHERE r.keep > 0 ON CONFLICT DO NOTHING
            """
        ),
        _DELETE_LITE,
    ),
    again=(
        prepared(
            f"""
            UPDATE toque_job AS j
            SET state = CASE WHEN r.pause > 0 AND NOT j.is_woken THEN {LATER} ELSE {WAITING} END,
                due = {_NOW} + CASE WHEN j.is_woken THEN 0 ELSE r.pause END, is_woken = 0,
                attempt = j.attempt - r.refund, crashes = j.crashes + r.crash, worker = NULL,
                errors = substr(j.errors || r.error, -{ERRORS_CHARS_MAX})
            FROM {_R} WHERE {_MINE} RETURNING queue, pos
            """
        ),
    ),
    dead=(
        prepared(
            f"""
            INSERT INTO toque_job_dead
                (id, queue, name, priority, key, headers, data, attempt, crashes, reason, errors, at)
            SELECT j.id, j.queue, j.name, j.priority, coalesce(j.share, j.key), j.headers, j.data, j.attempt,
                j.crashes + r.crash, r.reason, substr(j.errors || r.error, -{ERRORS_CHARS_MAX}), j.at
            FROM toque_job AS j JOIN {_R} ON {_MINE} WHERE true ON CONFLICT DO NOTHING
            """
        ),
        _DELETE_LITE,
    ),
    progress=(prepared(f"UPDATE toque_job AS j SET progress = r.result FROM {_R} WHERE {_MINE}"),),
    forget=(
        prepared(
            "DELETE FROM toque_job_step WHERE job IN (SELECT json_extract(value, '$.id') FROM json_each(?1)) "
            "AND job NOT IN (SELECT id FROM toque_job) AND job NOT IN (SELECT id FROM toque_job_dead)"
        ),
    ),
    steps=prepared(
        f"SELECT number, name, result, version, until - {_NOW} FROM toque_job_step WHERE job = ?1", is_write=False
    ),
    begin=prepared(f"UPDATE toque_job SET started = {_NOW} WHERE id = ?1 AND fence = ?2 AND state = {RUNNING}"),
    held=prepared(
        f"SELECT id, fence, crashes, started IS NOT NULL FROM toque_job WHERE worker = ?1 AND state = {RUNNING}",
    ),
    sweep=(
        *(
            prepared(
                f"DELETE FROM toque_{table} WHERE ({key}) IN "
                f"(SELECT {key} FROM toque_{table} WHERE until < {_NOW} LIMIT ?1)"
            )
            for table, key in (("job_result", "rowid"), ("job_once", "rowid"), ("job_rate", "queue, share, slice"))
        ),
        # The steps first, and those of the same jobs: nobody else writes in between.
        prepared(f"DELETE FROM toque_job_step WHERE job IN ({_OLDEST_LITE})"),
        prepared(f"DELETE FROM toque_job_dead WHERE id IN ({_OLDEST_LITE})"),
    ),
)

STATEMENTS = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}
