"""The consumers of an app in one process: each is taken over where nobody else has it, and left at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from random import shuffle
from time import monotonic

from toque.call.counts import Count
from toque.call.plan import Plan
from toque.call.tasks import cancel
from toque.call.trouble import Trouble
from toque.contract.errors import Overloaded, Unavailable
from toque.log.probe import Probe
from toque.log.reader import Reader
from toque.log.tail import Tail
from toque.messages.consumer import Consumer, Desk
from toque.messages.feed import Feed
from toque.messages.handling import Handling
from toque.messages.inbox import Inbox
from toque.messages.ownership import Ownership
from toque.messages.parked import Parked
from toque.messages.register import Fenced, Register
from toque.store.store import Store

__all__ = ["PARKED", "Consumers"]

log = logging.getLogger("toque.messages")

PARKED = Probe(
    "SELECT (min(p.due) - extract(epoch FROM clock_timestamp()))::float8 FROM toque.parked AS p "
    "JOIN toque.consumer AS c ON c.id = p.consumer WHERE p.state = 'waiting' AND c.state = 'running'",
    "(SELECT min(p.due) - (julianday('now') - 2440587.5) * 86400.0 FROM toque_parked AS p "
    "JOIN toque_consumer AS c ON c.id = p.consumer WHERE p.state = 'waiting' AND c.state = 'running')",
    keeps_alert=False,
    may_walk=True,
)
"""When the next parked event is to be tried. It keeps nobody alert: whoever is to try it is busy, or gone."""

CLOSE_S = 2.0
"""How long it may take to note where a consumer stands, and to let go of it."""

TRY_S = 1.0
"""Between two tries to take over what others have, one consumer each time."""

DOUBT_S = 45.0
"""How long after news they go on: a frozen owner is not ended by the server before 30 s (`postgres_wire`). Without news
there is nothing to do, and an idle app asks nothing."""


class Consumers:
    """See `messages.Service`.

    Args:
        plans: the handlers'.
        at_once: how many events of one consumer are at work in this process at a time.
        drain_s: how long they may go on when it stops.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        tail: Tail,
        *,
        inbox: Inbox,
        plans: Sequence[Plan],
        at_once: int,
        drain_s: float,
        alone: asyncio.Lock,
    ) -> None:
        self.register = Register(store)
        self.handlings = {plan.operation.name: Handling(plan) for plan in plans}
        self.consumers: dict[str, Consumer] = {}
        self.owned: dict[str, Ownership] = {}
        self._reader = reader
        self._drain_s = drain_s
        self._tail = tail
        self._desk = Desk(self.register, Parked(store), inbox, Feed(reader), at_once, alone)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._fences: dict[str, int] = {}
        self._news = asyncio.Event()
        self._heard_at = 0.0
        self._claiming: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Have every handler's consumer, before anything is called: a new one begins with what comes from now on."""
        known = {row.name for row in await self.register.rows()}
        for name, handling in self.handlings.items():
            self.consumers[name] = Consumer(name, handling)
            if name not in known:
                await self.register.add(name, name, await self._reader.now())

    async def start(self) -> None:
        self._tail.on_news(self._hear)
        self._tail.on_lost(self._lose)
        self._heard_at = monotonic()
        self._claiming = asyncio.get_running_loop().create_task(self._claim())

    async def drain(self) -> None:
        """Take nothing over any more; what is owned is handled until `stop`, in its order."""
        await cancel(self._claiming)

    async def stop(self) -> None:
        await self.drain()
        for ownership in self.owned.values():
            ownership.end(self._drain_s)
        if self._working:
            await asyncio.wait(self._working.values(), timeout=self._drain_s + CLOSE_S)
        await cancel(*self._working.values())

    def counts(self) -> Iterator[Count]:
        """What each consumer has done here."""
        for consumer in self.consumers.values():
            for outcome, count in asdict(consumer.counts).items():
                yield Count("consumer_events", {"consumer": consumer.name, "outcome": outcome}, count)

    async def settled(self) -> None:
        """Come back when everything published so far is handled or parked, and what was published because of it."""
        is_new = True
        while is_new:
            place = await self._reader.now()
            while self.consumers.keys() - self.owned.keys():  # noqa: ASYNC110 - only tests wait
                await asyncio.sleep(0.002)
            for ownership in list(self.owned.values()):
                await ownership.settled()
            entries, _ = await self._reader.read(place, 1)
            is_new = bool(entries)

    # Taking over.

    async def _claim(self) -> None:
        is_first = True
        trouble = Trouble(log, "consumers cannot be looked for")
        while True:
            self._news.clear()
            has_failed = True
            try:
                await self._look()
                await self._take_over(is_first)
                is_first = has_failed = False
                trouble.over()
            except (Unavailable, Overloaded) as error:
                trouble.met(error)
            except Exception:
                log.exception("consumers cannot be looked for; trying again")
            # Not with every event: one that comes now is handled by whoever has its consumer.
            await asyncio.sleep(TRY_S)
            is_in_doubt = monotonic() - self._heard_at < DOUBT_S and self.consumers.keys() != self._working.keys()
            if not is_in_doubt and not has_failed:
                await self._news.wait()

    async def _look(self) -> None:
        """Learn of the consumers that there are; a replay is one more."""
        for row in await self.register.rows():
            handling = self.handlings.get(row.handler)
            if handling is not None and row.state != "done" and row.name not in self.consumers:
                self.consumers[row.name] = Consumer(row.name, handling, row.until)

    async def _take_over(self, is_first: bool) -> None:
        """Try one that others have; where that is free, or at first, the others too."""
        names = list(self.consumers.keys() - self._working.keys())
        # Processes that start together share them.
        shuffle(names)
        for name in names:
            if await self._tail.claim(_claim_of(name)):
                self._working[name] = asyncio.get_running_loop().create_task(self._own(self.consumers[name]))
                self._working[name].add_done_callback(partial(self._left, name))
            elif not is_first:
                return

    def _left(self, name: str, _: asyncio.Task[None]) -> None:
        del self._working[name]
        self._news.set()

    async def _own(self, consumer: Consumer) -> None:
        name = consumer.name
        try:
            tenure = await self.register.take(name, self._fences.get(name, -1))
            if tenure is None:
                del self.consumers[name]
                return
            self._fences[name] = tenure.fence
            self._desk.inbox.numbers[name] = tenure.id
            self.owned[name] = ownership = Ownership(consumer, self._desk, tenure)
            await ownership.work()
        except* Fenced:
            self._desk.feed.forget()
            log.warning("%s was taken over by another process, or the database was restored", name)
        except* (Unavailable, Overloaded) as errors:
            log.warning("%s is left: %s", name, errors.exceptions[0])
        except* Exception:
            log.exception("%s is left, and taken up again", name)
        finally:
            self.owned.pop(name, None)
            await self._tail.release(_claim_of(name))

    def _hear(self) -> None:
        self._heard_at = monotonic()
        self._news.set()
        for ownership in self.owned.values():
            ownership.hear()

    def _lose(self) -> None:
        """The database was lost, and with it every claim: others may have the consumers by now."""
        for task in self._working.values():
            task.cancel()


def _claim_of(name: str) -> str:
    return f"consumer {name}"
