"""Which jobs of a queue may begin next, found among the first of those that wait, however many there are.

A job with a key begins only when it is the first of its key and nothing of that runs. A look passes over those that are
not, and over so many at most. Where that is not enough, those that stand behind another one of their key are set
`BEHIND`, out of everybody's way, until it is their turn (`line_tables`). So a look costs the same whatever waits, and
the order is what it was: by priority, then who came first, and by key who came first.

On PostgreSQL a job is set behind another one only while that one is held, so that it cannot leave unseen at the same
moment: it leaves before, and then this one stays; or after, and then it is seen who is behind.
"""

from __future__ import annotations

from typing import NamedTuple

from toque.messages.floor_tables import known
from toque.messages.job_tables import BEHIND, RUNNING, WAITING
from toque.messages.jobs.floors import WHOLE
from toque.messages.jobs.own import prepared
from toque.store.prepared import Prepared

__all__ = ["CROWDED", "IS_AT_PLACE", "LINES", "ORDER", "PASSED_MAX", "PLACES", "TAKEN", "LineStatements"]

PASSED_MAX = 1000
"""Jobs that one look passes over at most: a millisecond. More than others hold at the same moment, too."""


class LineStatements(NamedTuple):
    """One database's."""

    aside: Prepared
    """(queue, names): set behind what stands behind another one of its key, among those that a look passes over."""
    follow: tuple[Prepared, ...]
    """(limit): let wait who has become the first of his key, where whoever left could not see to it. One after the
    other, with the same arguments."""


ORDER = "0 - j.priority, j.pos"
"""Who goes first: by rank, which is the priority turned round, so that a place is one comparison of rows (`floors`)."""

PLACES = "json_to_recordset({}::json) AS p(queue text, rank integer, pos bigint, below integer)"
IS_AT_PLACE = "(0 - j.priority, j.pos) >= (p.rank, p.pos) AND 0 - j.priority < p.below"

# Asked for the first of the key, and apart for one that runs: each is one place in an index, however many there are.
_IS_FREE = f"""
w.key = '' OR (
    w.pos = (SELECT e.pos FROM toque.job AS e
             WHERE e.queue = $1::text AND e.key = w.key AND e.key <> '' ORDER BY e.pos LIMIT 1)
    AND NOT EXISTS (SELECT 1 FROM toque.job AS e
                    WHERE e.queue = $1::text AND e.key = w.key AND e.key <> '' AND e.state = {RUNNING}))
"""

# PostgreSQL. What others hold is skipped where the row is taken, and not in the look: else whoever looks would hold all
# that he passes over, and whoever comes second would find nothing.

_PG_WAITING = f"""
SELECT j.id, j.pos, j.key FROM {PLACES.format("{places}")} CROSS JOIN LATERAL (
    SELECT j.id, j.pos, j.key FROM toque.job AS j
    WHERE j.state = {WAITING} AND j.queue = $1::text AND {IS_AT_PLACE}
      AND j.name = ANY (ARRAY(SELECT json_array_elements_text({{names}}::json)))
    ORDER BY {ORDER} LIMIT {{limit}}
) AS j
WHERE NOT EXISTS (SELECT FROM toque.job_queue AS q WHERE q.name = $1::text AND q.is_paused)
LIMIT {{limit}}
"""
# Nothing is sorted here: the places come in the order of their list, and who waits there in that of the index. To sort
# them the server would lock all that the look passes over.
_PG_TAKEN = f"""
SELECT mine.id FROM (
    {_PG_WAITING.format(places="$5", names="$4", limit=f"$2::bigint + {PASSED_MAX}")}
) AS w
CROSS JOIN LATERAL (
    SELECT id FROM toque.job WHERE id = w.id AND {known(WAITING)} FOR NO KEY UPDATE SKIP LOCKED
) AS mine
WHERE {_IS_FREE} LIMIT $2
"""
_PG_ASIDE = f"""
UPDATE toque.job AS j SET state = {BEHIND} WHERE j.id = ANY (ARRAY(
    SELECT mine.id FROM ({_PG_WAITING.format(places=f"'{WHOLE}'", names="$2", limit=PASSED_MAX)}) AS w
    CROSS JOIN LATERAL (
        SELECT id FROM toque.job WHERE id = w.id AND {known(WAITING)} FOR NO KEY UPDATE SKIP LOCKED
    ) AS mine
    CROSS JOIN LATERAL (
        SELECT FROM toque.job AS e WHERE e.queue = $1::text AND e.key = w.key AND e.key <> '' AND e.pos < w.pos
        ORDER BY e.pos LIMIT 1 FOR KEY SHARE SKIP LOCKED
    ) AS before
))
"""
_PG_FOLLOW = f"""
WITH gone AS (
    DELETE FROM toque.job_left WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM toque.job_left LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING queue, key
)
UPDATE toque.job AS j SET state = {WAITING} WHERE j.id = ANY (ARRAY(
    SELECT f.id FROM (SELECT DISTINCT queue, key FROM gone) AS g CROSS JOIN LATERAL (
        SELECT e.id FROM toque.job AS e WHERE e.queue = g.queue AND e.key = g.key AND e.key <> ''
        ORDER BY e.pos LIMIT 1
    ) AS f
)) AND {known(BEHIND, "j.")}
"""

# SQLite, which has one writer. What is selected from a subquery with a limit comes in that one's order.

_WAITING_LITE = f"""
SELECT j.pos, j.key FROM toque_job AS j
WHERE j.state = {WAITING} AND j.queue = ?1
  AND NOT EXISTS (SELECT 1 FROM toque_job_queue AS q WHERE q.name = ?1 AND q.is_paused)
  AND j.name IN (SELECT value FROM json_each({{names}}))
ORDER BY {ORDER} LIMIT {{limit}}
"""
_FREE_LITE = _IS_FREE.replace("toque.", "toque_").replace("$1::text", "?1")
_TAKEN_LITE = f"""
SELECT w.pos FROM ({_WAITING_LITE.format(names="?4", limit=f"?2 + {PASSED_MAX}")}) AS w WHERE {_FREE_LITE} LIMIT ?2
"""
_ASIDE_LITE = f"""
UPDATE toque_job SET state = {BEHIND} WHERE pos IN (
    SELECT w.pos FROM ({_WAITING_LITE.format(names="?2", limit=PASSED_MAX)}) AS w
    WHERE w.pos > (SELECT e.pos FROM toque_job AS e
                   WHERE e.queue = ?1 AND e.key = w.key AND e.key <> '' ORDER BY e.pos LIMIT 1)
)
"""
_FIRST_LITE = """
SELECT e.pos FROM toque_job AS e WHERE e.queue = g.queue AND e.key = g.key AND e.key <> '' ORDER BY e.pos LIMIT 1
"""
_LEFT_LITE = "SELECT {} FROM toque_job_left ORDER BY rowid LIMIT ?1"
_FOLLOW_LITE = (
    f"UPDATE toque_job SET state = {WAITING} WHERE state = {BEHIND} AND pos IN "
    f"(SELECT ({_FIRST_LITE}) FROM ({_LEFT_LITE.format('queue, key')}) AS g)",
    f"DELETE FROM toque_job_left WHERE rowid IN ({_LEFT_LITE.format('rowid')})",
)

TAKEN = {"postgresql": _PG_TAKEN, "sqlite": _TAKEN_LITE}
"""(queue, limit, worker, names, and on PostgreSQL places): jobs that may begin now, by `id` on PostgreSQL, where they
are locked, and by `pos` on SQLite."""

CROWDED = f"""
(SELECT true FROM toque.job AS j WHERE j.queue = {{queue}} AND j.key <> '' ORDER BY j.key LIMIT 1)
AND (SELECT true FROM toque.job AS j WHERE j.state = {WAITING} AND j.queue = {{queue}}
     ORDER BY {ORDER} LIMIT 1 OFFSET {PASSED_MAX})
"""
"""Whether a queue has keys, and more that wait than a look passes over."""

LINES = {
    "postgresql": LineStatements(prepared(_PG_ASIDE), (prepared(_PG_FOLLOW),)),
    "sqlite": LineStatements(prepared(_ASIDE_LITE), tuple(map(prepared, _FOLLOW_LITE))),
}
