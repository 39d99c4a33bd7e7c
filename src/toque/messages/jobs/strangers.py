"""Jobs that wait and that the app does not have, or not in their queue: they are found by nobody."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import msgspec

from toque.messages.dialects import both
from toque.messages.job_tables import WAITING
from toque.store.own import look
from toque.store.store import Store

__all__ = ["STRANGERS_MAX", "warn_of_strangers"]

log = logging.getLogger("toque.jobs")

STRANGERS_MAX = 20
"""Queues, and jobs of one queue, that are named at most: a screenful."""

HEAD = 1000
"""Jobs of one queue that are looked at: what nobody takes comes to stand at its head."""

# From queue to queue along the index, whatever waits in each.
_QUEUES = both(
    f"""
    WITH RECURSIVE waiting (queue) AS (
        SELECT min(queue) FROM toque.job WHERE state = {WAITING}
        UNION ALL
        SELECT (SELECT queue FROM toque.job WHERE state = {WAITING} AND queue > waiting.queue ORDER BY queue LIMIT 1)
        FROM waiting WHERE waiting.queue IS NOT NULL
    )
    SELECT queue FROM waiting WHERE queue IS NOT NULL AND queue NOT IN {{each $1}} LIMIT {STRANGERS_MAX}
    """
)


# By rank, as the index has it (`floor_tables`).
_NAMES = both(
    f"""
    SELECT DISTINCT name FROM (
        SELECT name FROM toque.job WHERE state = {WAITING} AND queue = $1 ORDER BY 0 - priority, pos LIMIT {HEAD}
    ) AS head WHERE name NOT IN {{each $2}} ORDER BY name LIMIT {STRANGERS_MAX}
    """
)


async def warn_of_strangers(store: Store, names: Mapping[str, Collection[str]]) -> list[str]:
    """Say in the log which jobs wait that are not among *names*, by queue: their queues, or names.

    Another release may know them: while one takes the place of another, that is as it should be.
    """
    queues = [row[0] for row in await look(store, _QUEUES[store.dialect_name], _list(names))]
    for queue in queues:
        log.warning("jobs wait in the queue %r, and no job of this release is in it; see `toque jobs list`", queue)
    jobs = []
    for queue, known in names.items():
        for (name,) in await look(store, _NAMES[store.dialect_name], queue, _list(known)):
            jobs.append(name)
            log.warning(
                "jobs %r wait in the queue %r, and this release has none of that name there; if it was renamed, give "
                "it `name=%r`, or see `toque jobs list`",
                name,
                queue,
                name.rpartition(".")[2],
            )
    return [*queues, *jobs]


def _list(names: Collection[str]) -> str:
    return msgspec.json.encode(sorted(names)).decode()
