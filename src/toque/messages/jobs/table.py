"""The jobs' table as one process uses it: to look, to claim, and to say what became of what it claimed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from toque.contract.errors import DeadlineExceeded
from toque.contract.limits import Limits
from toque.log.probe import Probe
from toque.messages.job_tables import LATER, RUNNING, WAITING
from toque.messages.jobs.floors import First, Floors
from toque.messages.jobs.job import Outcome, Start
from toque.messages.jobs.limited import Limited
from toque.messages.jobs.lines import LINES
from toque.messages.jobs.statements import STATEMENTS
from toque.store.database import Database, transaction_of
from toque.store.own import change, execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["JOBS", "Held", "JobTable", "Mine", "View", "Whole"]

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
    may_walk=True,
)
"""Whether there is a job to begin or to watch over. What is enqueued rings, so nobody has to look more often."""

PROMOTED_MAX = 1000
"""Jobs that become due at once are let begin in steps of so many, some milliseconds of work."""

SWEPT_MAX = 5000
"""Deleted of each table at a time: more than the results that a process makes from one look to the next, a second."""

FOLLOWED_MAX = 1000

LOOK_S = 1.0
"""While there is always more to claim, this often is looked for what was cancelled, and who died."""

FRESH_S = 0.05
"""The same where a claim begins at a floor: it walks over what has gone since the last look, some hundred jobs."""


class Mine(Struct, frozen=True, array_like=True):
    """A job that the database says this worker runs."""

    id: UUID
    fence: int
    is_cancelled: bool


class Whole(Struct, frozen=True):
    """What only a look sees that begins at the beginning."""

    crowded: frozenset[str]
    """The queues that have keys and more that wait than a look passes over."""
    workers: frozenset[int]
    """Those that have begun jobs and not ended them."""
    mine: list[Mine]
    """Those of the worker who asks."""


class View(Struct, frozen=True):
    """What there is to do."""

    queues: frozenset[str]
    """Those with a job that may begin."""
    has_left: bool
    """Whether `follow` has something to do."""
    due_s: float | None
    """The seconds until the next one is due; 0 or less for now, None where none is."""
    whole: Whole | None
    """None where the look began at the floors."""
    again_s: float
    """The seconds until a look is to begin at the beginning again, where most do not; else 0."""


class Held(Struct, frozen=True):
    """What a worker has claimed and not ended."""

    id: str
    fence: int
    crashes: int
    has_begun: bool


class JobTable:
    """One store's jobs.

    Args:
        names: the jobs that are worked on, by queue.
    """

    def __init__(self, store: Store, names: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        self._store = store
        self._statements = STATEMENTS[store.dialect_name]
        self._lines = LINES[store.dialect_name]
        self._limited = Limited(store)
        self._queues = list(names)
        self._names = {queue: _json(each) for queue, each in names.items()}
        self._all_queues = _json(self._queues)
        self._all_names = _json([name for each in names.values() for name in each])
        # SQLite keeps nothing that was deleted.
        self._floors = Floors(self._queues) if store.dialect_name == "postgresql" else None

    async def number(self) -> int:
        """A number that no worker has had and none will have."""
        number: int = (await self._fetch(self._statements.number))[0][0]
        return number

    async def look(self, worker: int) -> View:
        """What there is to do, for *worker* too."""
        if (floors := self._floors) is None:
            row = (await look(self._store, self._statements.look, self._all_queues, self._all_names, worker))[0]
            waiting, has_left, due_s, *rest = row
            queues = msgspec.json.decode(waiting, type=frozenset[str])
            return View(queues, bool(has_left), due_s, _whole(rest), 0.0)
        is_whole = floors.is_whole_due
        places, due_from = floors.places(self._queues, is_whole=is_whole), 0.0 if is_whole else floors.due_from
        arguments = (places, self._all_names, worker, is_whole, due_from)
        asked = monotonic()
        try:
            row = (await look(self._store, self._statements.look, *arguments))[0]
        except DeadlineExceeded:
            if is_whole:
                floors.give_up(monotonic() - asked)
            raise
        began, waiting, has_left, due_s, *rest, last, xmin, xmax, ended = row
        firsts = msgspec.json.decode(waiting, type=list[First])
        floors.learn(firsts, is_whole=is_whole, took_s=ended - began, last=last, xmin=xmin, xmax=xmax)
        floors.learn_due(ended, due_s)
        open = frozenset(first.queue for first in firsts if first.is_open)
        return View(open, has_left, due_s, _whole(rest) if is_whole else None, floors.whole_in_s)

    @property
    def look_s(self) -> float:
        """How long what a look has found is to be relied on, also while there is always more to claim."""
        return LOOK_S if self._floors is None or not self._floors.is_deep else FRESH_S

    async def promote(self) -> None:
        """Let begin what is due, some of it at a time."""
        due_from = () if self._floors is None else (self._floors.due_from,)
        self._lower(await self._fetch(self._statements.promote, PROMOTED_MAX, *due_from))

    async def claim(self, queue: str, limit: int, worker: int) -> list[Start]:
        """At most *limit* jobs that begin now, the first to begin first."""
        arguments = (queue, limit, worker, self._names[queue], *self._places(queue))
        return self._starts(queue, await self._fetch(self._statements.claim, *arguments))

    async def claim_limited(self, limits: Limits, room: int, worker: int) -> list[Start]:
        """As `claim`, of a queue with limits: at most *room*, and no more than they allow."""
        names, places = self._names[limits.queue], self._places(limits.queue)
        return self._starts(limits.queue, await self._limited.claim(limits, room, worker, names, *places))

    async def set_aside(self, queue: str) -> int:
        """Have some of those that wait for others of their key out of the way of a claim: how many."""
        return await execute(self._store, self._lines.aside, queue, self._names[queue])

    def freed(self, queue: str, pos: int) -> None:
        """Say that the job at *pos* may begin again, or has ended, or is about to, and another one of its key may."""
        self._lower([(queue, pos)])

    async def follow(self) -> None:
        """Let wait again, some at a time, who stood behind one of his key that has left."""

        async def run(database: Database) -> None:
            for each in self._lines.follow:
                await transaction_of(database).execute(each, (FOLLOWED_MAX,))

        await self._store.command(run)
        if self._floors is not None:
            self._floors.forget()

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
                    if kind == "again":
                        moved.extend(await transaction.fetch(statement, (document,), 0, list))
                    else:
                        await transaction.execute(statement, (document,))

        moved: list[tuple[str, int]] = []
        await self._store.command(run)
        self._lower(moved)

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

    def _starts(self, queue: str, rows: Sequence[Sequence[Any]]) -> list[Start]:
        starts = sorted(map(_start, rows), key=lambda start: (-start.priority, start.pos))
        if self._floors is not None:
            for priority in {start.priority for start in starts}:
                self._floors.meet(queue, priority)
        return starts

    def _places(self, queue: str) -> tuple[str, ...]:
        return () if self._floors is None else (self._floors.places([queue]),)

    def _lower(self, moved: Iterable[tuple[str, int]]) -> None:
        if self._floors is not None:
            for queue, pos in moved:
                self._floors.lower(queue, pos)

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        return await change(self._store, prepared, *arguments)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _whole(row: Sequence[Any]) -> Whole:
    crowded, workers, mine = row
    return Whole(
        msgspec.json.decode(crowded, type=frozenset[str]),
        msgspec.json.decode(workers, type=frozenset[int]),
        msgspec.json.decode(mine, type=list[Mine], strict=False),
    )


def _start(row: Sequence[Any]) -> Start:
    id, pos, name, key, priority, attempt, crashes, fence, headers, data, is_cancelled, at, waited_s = row
    return Start(
        id if isinstance(id, UUID) else UUID(id),
        pos, name, key, priority, attempt, crashes, fence,
        msgspec.json.decode(headers), data.encode(), bool(is_cancelled), at, max(waited_s, 0.0),
    )  # fmt: skip
