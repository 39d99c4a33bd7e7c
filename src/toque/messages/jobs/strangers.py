"""Queues that hold jobs and that no job of the app is in: what waits there is found by nobody."""

from __future__ import annotations

import logging
from collections.abc import Collection

import msgspec

from toque.messages.dialects import both
from toque.messages.job_tables import WAITING
from toque.store.own import look
from toque.store.store import Store

__all__ = ["STRANGERS_MAX", "warn_of_strangers"]

log = logging.getLogger("toque.jobs")

STRANGERS_MAX = 20
"""Queues that are named at most: a screenful."""

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


async def warn_of_strangers(store: Store, queues: Collection[str]) -> list[str]:
    """Say in the log which queues have jobs that wait, and are not among *queues*; their names."""
    known = msgspec.json.encode(sorted(queues)).decode()
    found = [row[0] for row in await look(store, _QUEUES[store.dialect_name], known)]
    for queue in found:
        # Another release may know it: while one takes the place of another, that is as it should be.
        log.warning("jobs wait in the queue %r, and no job of this release is in it; see `toque jobs list`", queue)
    return found
