"""The jobs' table as one process uses it: to look, to claim, and to say what became of what it claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from toque.contract.limits import Limits
from toque.log.probe import Probe
from toque.messages.job_tables import LATER, RUNNING, WAITING
from toque.messages.jobs.job import Outcome, Start
from toque.messages.jobs.limited import Limited
from toque.messages.jobs.lines import LINES
from toque.messages.jobs.statements import STATEMENTS
from toque.store.database import Database, transaction_of
from toque.store.own import change, execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["JOBS", "Held", "JobTable", "Mine", "View"]

# From one queue to the next along the index: the jobs of one that is paused may be many.
_HAS_SOMETHING = f"""
    EXISTS (
        WITH RECURSIVE waiting(queue) AS (
            SELECT (SELECT queue FROM toque.job WHERE state = {WAITING} ORDER BY queue LIMIT 1)
            UNION ALL
            SELECT (SELECT queue FROM toque.job WHERE state = {WAITING} AND queue > waiting.queue
                    ORDER BY queue LIMIT 1)
            FROM waiting WHERE waiting.queue IS NOT NULL
        )
        SELECT 1 FROM waiting WHERE queue IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM toque.job_queue AS q WHERE q.name = waiting.queue AND q.is_paused)
    )
"""

JOBS = Probe(
    f"""
    CASE WHEN EXISTS (SELECT FROM toque.job WHERE state = {RUNNING}) OR {_HAS_SOMETHING}
        OR EXISTS (SELECT FROM toque.job_left)
    THEN 0.0::float8
    ELSE (SELECT extract(epoch FROM min(due) - clock_timestamp())::float8 FROM toque.job WHERE state = {LATER}) END
    """,
    f"""
    CASE WHEN EXISTS (SELECT 1 FROM toque_job WHERE state = {RUNNING}) OR {_HAS_SOMETHING.replace("toque.", "toque_")}
        OR EXISTS (SELECT 1 FROM toque_job_left)
    THEN 0.0
    ELSE (SELECT min(due) - ((julianday('now') - 2440587.5) * 86400.0) FROM toque_job WHERE state = {LATER}) END
    """,
    keeps_alert=False,
)
"""Whether there is a job to begin or to watch over. What is enqueued rings, so nobody has to look more often."""

PROMOTED_MAX = 1000
"""Jobs that become due at once are let begin in steps of so many, some milliseconds of work."""

SWEPT_MAX = 5000
"""Deleted of each table at a time: more than the results that a process makes from one look to the next, a second."""

FOLLOWED_MAX = 1000


class Mine(Struct, frozen=True, array_like=True):
    """A job that the database says this worker runs."""

    id: UUID
    fence: int
    is_cancelled: bool


class View(Struct, frozen=True):
    """What there is to do."""

    queues: frozenset[str]
    """Those with a job that may begin."""
    crowded: frozenset[str]
    """Those that have keys and more that wait than a look passes over."""
    has_left: bool
    """Whether `follow` has something to do."""
    due_s: float | None
    """The seconds until the next one is due; 0 or less for now, None where none is."""
    workers: frozenset[int]
    """Those that have begun jobs and not ended them."""
    mine: list[Mine]
    """Those of the worker who asks."""


class Held(Struct, frozen=True):
    """What a worker has claimed and not ended."""

    id: str
    fence: int
    crashes: int
    has_begun: bool


class JobTable:
    """One store's jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._statements = STATEMENTS[store.dialect_name]
        self._lines = LINES[store.dialect_name]
        self._limited = Limited(store)

    async def number(self) -> int:
        """A number that no worker has had and none will have."""
        number: int = (await self._fetch(self._statements.number))[0][0]
        return number

    async def look(self, queues: str, names: str, worker: int) -> View:
        """What there is to do in *queues* for who knows *names* (JSON lists), and for *worker*."""
        row = (await look(self._store, self._statements.look, queues, names, worker))[0]
        waiting, crowded, has_left, due_s, workers, mine = row
        return View(
            msgspec.json.decode(waiting, type=frozenset[str]),
            msgspec.json.decode(crowded, type=frozenset[str]),
            bool(has_left),
            due_s,
            msgspec.json.decode(workers, type=frozenset[int]),
            msgspec.json.decode(mine, type=list[Mine], strict=False),
        )

    async def promote(self) -> None:
        """Let begin what is due, some of it at a time."""
        await execute(self._store, self._statements.promote, PROMOTED_MAX)

    async def claim(self, queue: str, limit: int, worker: int, names: str) -> list[Start]:
        """At most *limit* jobs that begin now, the first to begin first."""
        rows = await self._fetch(self._statements.claim, queue, limit, worker, names)
        return sorted(map(_start, rows), key=lambda start: (-start.priority, start.pos))

    async def claim_limited(self, limits: Limits, room: int, worker: int, names: str) -> list[Start]:
        """As `claim`, of a queue with limits: at most *room*, and no more than they allow."""
        rows = await self._limited.claim(limits, room, worker, names)
        return sorted(map(_start, rows), key=lambda start: (-start.priority, start.pos))

    async def set_aside(self, queue: str, names: str) -> int:
        """Have some of those that wait for others of their key out of the way of a claim: how many."""
        return await execute(self._store, self._lines.aside, queue, names)

    async def follow(self) -> None:
        """Let wait again, some at a time, who stood behind one of his key that has left."""

        async def run(database: Database) -> None:
            for each in self._lines.follow:
                await transaction_of(database).execute(each, (FOLLOWED_MAX,))

        await self._store.command(run)

    async def adopt(self, queue: str) -> None:
        """See `Limited.adopt`."""
        await self._limited.adopt(queue)

    async def settle(self, **kinds: Sequence[Outcome]) -> None:
        """Write what became of starts, of those that still count: what is `done`, comes `again`, is `dead`, and how far
        others are (`progress`)."""

        async def run(database: Database) -> None:
            transaction = transaction_of(database)
            for kind, outcomes in kinds.items():
                statements: tuple[Prepared, ...] = getattr(self._statements, kind) if outcomes else ()
                # Everybody who changes several jobs takes them in one order, so that nobody waits in a circle.
                document = msgspec.json.encode(sorted(outcomes, key=lambda each: each.id)).decode()
                for statement in statements:
                    await transaction.execute(statement, (document,))

        await self._store.command(run)

    async def held(self, worker: int) -> list[Held]:
        """What *worker* has claimed and not ended."""
        return [
            Held(str(id), fence, crashes, bool(has_begun))
            for id, fence, crashes, has_begun in await self._fetch(self._statements.held, worker)
        ]

    async def begin(self, start: Start) -> bool:
        """Note that *start*, of a suspect, begins now: whether it still counts."""
        return await execute(self._store, self._statements.begin, str(start.id), start.fence) == 1

    async def sweep(self) -> bool:
        """Delete some of what need not be kept any more: whether there may be more."""

        async def run(database: Database) -> int:
            transaction = transaction_of(database)
            return max([await transaction.execute(each, (SWEPT_MAX,)) for each in self._statements.sweep])

        return await self._store.command(run) >= SWEPT_MAX

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        return await change(self._store, prepared, *arguments)


def _start(row: Sequence[Any]) -> Start:
    id, pos, name, key, priority, attempt, crashes, fence, headers, data, is_cancelled, at, waited_s = row
    return Start(
        id if isinstance(id, UUID) else UUID(id),
        pos, name, key, priority, attempt, crashes, fence,
        msgspec.json.decode(headers), data.encode(), bool(is_cancelled), at, max(waited_s, 0.0),
    )  # fmt: skip
