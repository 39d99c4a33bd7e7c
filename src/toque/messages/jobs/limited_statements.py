"""What is asked of the jobs' table where a queue has limits, in the words of each database; see `limited`."""

from __future__ import annotations

from typing import NamedTuple

from toque.contract.limits import SLICES
from toque.messages.floor_tables import known
from toque.messages.job_tables import BEHIND, RUNNING, WAITING
from toque.messages.jobs.lines import ORDER, TAKEN
from toque.messages.jobs.own import prepared
from toque.messages.jobs.statements import STARTED, STARTED_LITE
from toque.store.prepared import Prepared

__all__ = ["LIMITED", "LimitStatements"]


class LimitStatements(NamedTuple):
    """One database's."""

    lock: Prepared | None
    room: Prepared
    """(queue, at once, rate, slice): how many more of the queue as a whole may begin."""
    claim: Prepared
    """(queue, limit, worker, names, and on PostgreSQL places): jobs of a queue whose keys are for order."""
    keys: Prepared
    """(queue, from, how many): the next keys that wait."""
    claim_of: Prepared
    """(queue, limit, worker, names, keys, at once a key, rate a key, slice a key): jobs of these keys, in turn."""
    adopt: Prepared
    """(queue, how many): give their keys' limits to those who were enqueued before there were any."""
    note: Prepared
    """(queue, share, slice, how many): note that so many have begun."""


EMPTY = "''"
LOCKS = 0x70C0E2
"""The first half of the locks' numbers: `log.layout` has the one before."""

# The place of a key in a claimed row is that of `key` in a plain claim.
_RETURNING = (
    "{j}id, {j}pos, {j}name, coalesce({j}share, {j}key), {j}priority, {j}attempt, {j}crashes, {j}fence, {j}headers, "
    "{j}data, {j}is_cancelled"
)
_PG_WAITED = "extract(epoch FROM clock_timestamp() - j.due)::float8"
_PG_RETURNING = f"{_RETURNING.format(j='j.')}, extract(epoch FROM j.at)::float8, {_PG_WAITED}"
_PG_NOW = "extract(epoch FROM clock_timestamp())"
_PG_STARTED = (
    "(SELECT coalesce(sum(r.starts), 0) FROM toque.job_rate AS r WHERE r.queue = $1::text AND r.share = {share} "
    f"AND r.slice >= floor({_PG_NOW} / {{slice}}::float8)::bigint - {SLICES})"
)
_PG_RUNNING = f"(SELECT count(*) FROM toque.job AS o WHERE o.queue = $1::text AND o.state = {RUNNING} AND o.is_limited"
_PG_OPEN = "NOT EXISTS (SELECT FROM toque.job_queue AS q WHERE q.name = $1::text AND q.is_paused)"
_PG_KNOWN = "j.name = ANY (ARRAY(SELECT json_array_elements_text($4::json)))"
_PG_NEXT = f"""
SELECT CASE WHEN n.queue = $1::text THEN n.share END FROM (
    SELECT j.queue, j.share FROM toque.job AS j
    WHERE j.state = {WAITING} AND j.share IS NOT NULL AND (j.queue, j.share) {{}}
    ORDER BY j.queue, j.share LIMIT 1) AS n
"""
_PG_TAKE = f"""
UPDATE toque.job AS j SET state = {RUNNING}, worker = $3, fence = j.fence + 1, attempt = j.attempt + 1,
    started = {STARTED}, is_woken = false, is_limited = true,
    uniq = CASE WHEN j.is_freed THEN NULL ELSE j.uniq END
WHERE j.id = ANY (ARRAY(SELECT id FROM taken)) RETURNING {_PG_RETURNING}
"""

_POSTGRESQL = LimitStatements(
    lock=prepared(f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext($1))"),
    room=prepared(
        f"""
        SELECT least($2::bigint - {_PG_RUNNING}), $3::bigint - {_PG_STARTED.format(share=EMPTY, slice="$4")})::integer
        """
    ),
    claim=prepared(
        f"""
        WITH taken AS MATERIALIZED ({TAKEN["postgresql"]})
        {_PG_TAKE}
        """
    ),
    # PostgreSQL has no plan that skips from one key to the next by itself (its wiki, "Loose indexscan"). Only the index
    # of keys is in the order of both columns: where the queue is given by itself, a server that has not counted yet
    # what was just enqueued takes another, and sorts all of the queue for each key.
    keys=prepared(
        f"""
        WITH RECURSIVE found(share, number) AS (
            SELECT ({_PG_NEXT.format(">= ($1::text, $2::text)")}), 1
            UNION ALL
            SELECT ({_PG_NEXT.format("> ($1::text, f.share)")}), f.number + 1
            FROM found AS f WHERE f.share IS NOT NULL AND f.number < $3::integer
        )
        SELECT share FROM found WHERE share IS NOT NULL
        """,
        is_write=False,
    ),
    claim_of=prepared(
        f"""
        WITH wanted AS MATERIALIZED (
            SELECT k.share, k.place, CASE WHEN k.share = '' THEN $2::bigint ELSE least(
                $6::bigint - {_PG_RUNNING} AND o.share = k.share),
                $7::bigint - {_PG_STARTED.format(share="k.share", slice="$8")}) END AS room
            FROM (
                SELECT value COLLATE "C" AS share, place
                FROM json_array_elements_text($5::json) WITH ORDINALITY AS e(value, place)
            ) AS k
        ), ranked AS (
            SELECT t.id, w.place, w.room,
                row_number() OVER (PARTITION BY w.share ORDER BY t.priority DESC, t.pos) AS turn
            FROM (SELECT * FROM wanted WHERE room > 0) AS w CROSS JOIN LATERAL (
                SELECT j.id, j.priority, j.pos FROM toque.job AS j
                WHERE j.state = {WAITING} AND j.queue = $1::text AND j.share IS NOT NULL AND j.share = w.share
                  AND {_PG_OPEN} AND {_PG_KNOWN}
                ORDER BY j.priority DESC, j.pos LIMIT $2
            ) AS t
        ), taken AS MATERIALIZED (
            SELECT id FROM ranked WHERE turn <= room ORDER BY turn, place LIMIT $2
        )
        {_PG_TAKE.replace("RETURNING", f"AND {known(WAITING, 'j.')} RETURNING")}
        """
    ),
    adopt=prepared(
        f"""
        UPDATE toque.job SET share = key, key = '', state = {WAITING} WHERE id = ANY (ARRAY(
            SELECT id FROM toque.job AS j WHERE state = {WAITING} AND queue = $1 AND share IS NULL
            ORDER BY {ORDER} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
        ) || ARRAY(
            SELECT id FROM toque.job WHERE state = {BEHIND} AND queue = $1 LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
        """
    ),
    note=prepared(
        f"""
        INSERT INTO toque.job_rate AS r (queue, share, slice, starts, until)
        VALUES ($1, $2, floor({_PG_NOW} / $3::float8)::bigint, $4,
            clock_timestamp() + make_interval(secs => $3::float8 * {SLICES + 2}))
        ON CONFLICT (queue, share, slice) DO UPDATE SET starts = r.starts + excluded.starts
        """
    ),
)

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
_STARTED = (
    "(SELECT coalesce(sum(r.starts), 0) FROM toque_job_rate AS r WHERE r.queue = ?1 AND r.share = {share} "
    f"AND r.slice >= CAST({_NOW} / {{slice}} AS INTEGER) - {SLICES})"
)
_RUNNING = f"(SELECT count(*) FROM toque_job AS o WHERE o.queue = ?1 AND o.state = {RUNNING} AND o.is_limited"
_OPEN = "NOT EXISTS (SELECT 1 FROM toque_job_queue AS q WHERE q.name = ?1 AND q.is_paused)"
_KNOWN = "j.name IN (SELECT value FROM json_each(?4))"
_TAKE = f"""
UPDATE toque_job SET state = {RUNNING}, worker = ?3, fence = fence + 1, attempt = attempt + 1,
    started = {STARTED_LITE}, is_woken = 0, is_limited = 1, uniq = CASE WHEN is_freed THEN NULL ELSE uniq END
WHERE pos IN ({{taken}}) RETURNING {_RETURNING.format(j="")}, at, {_NOW} - due
"""
_TAKEN_OF = f"""
SELECT pos FROM (
    SELECT j.pos, w.room, w.place,
        row_number() OVER (PARTITION BY j.share ORDER BY j.priority DESC, j.pos) AS turn
    FROM (
        SELECT k.value AS share, k.key AS place, CASE WHEN k.value = '' THEN ?2 ELSE min(
            ?6 - {_RUNNING} AND o.share = k.value), ?7 - {_STARTED.format(share="k.value", slice="?8")}) END AS room
        FROM json_each(?5) AS k
    ) AS w JOIN toque_job AS j ON w.room > 0 AND j.pos IN (
        SELECT f.pos FROM toque_job AS f
        WHERE f.state = {WAITING} AND f.queue = ?1 AND f.share IS NOT NULL AND f.share = w.share
          AND {_KNOWN.replace("j.", "f.", 1)}
        ORDER BY f.priority DESC, f.pos LIMIT ?2
    )
    WHERE {_OPEN}
) WHERE turn <= room ORDER BY turn, place LIMIT ?2
"""

_SQLITE = LimitStatements(
    lock=None,
    room=prepared(f"SELECT min(?2 - {_RUNNING}), ?3 - {_STARTED.format(share=EMPTY, slice='?4')})"),
    claim=prepared(_TAKE.format(taken=TAKEN["sqlite"])),
    keys=prepared(
        f"""
        WITH RECURSIVE found(share, number) AS (
            SELECT * FROM (
                SELECT j.share, 1 FROM toque_job AS j
                WHERE j.state = {WAITING} AND j.queue = ?1 AND j.share IS NOT NULL AND j.share >= ?2
                ORDER BY j.share LIMIT 1)
            UNION ALL
            SELECT (SELECT j.share FROM toque_job AS j
                    WHERE j.state = {WAITING} AND j.queue = ?1 AND j.share IS NOT NULL AND j.share > f.share
                    ORDER BY j.share LIMIT 1), f.number + 1
            FROM found AS f WHERE f.share IS NOT NULL AND f.number < ?3
        )
        SELECT share FROM found WHERE share IS NOT NULL
        """,
        is_write=True,
    ),
    claim_of=prepared(_TAKE.format(taken=_TAKEN_OF)),
    adopt=prepared(
        f"""
        UPDATE toque_job SET share = key, key = '', state = {WAITING} WHERE pos IN (
            SELECT pos FROM (
                SELECT pos FROM toque_job AS j WHERE state = {WAITING} AND queue = ?1 AND share IS NULL
                ORDER BY {ORDER} LIMIT ?2
            ) UNION ALL SELECT pos FROM (SELECT pos FROM toque_job WHERE state = {BEHIND} AND queue = ?1 LIMIT ?2))
        """
    ),
    note=prepared(
        f"""
        INSERT INTO toque_job_rate (queue, share, slice, starts, until)
        VALUES (?1, ?2, CAST({_NOW} / ?3 AS INTEGER), ?4, {_NOW} + ?3 * {SLICES + 2})
        ON CONFLICT (queue, share, slice) DO UPDATE SET starts = starts + excluded.starts
        """
    ),
)

LIMITED = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}
