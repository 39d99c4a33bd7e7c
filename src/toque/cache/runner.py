"""Drives the protocol in one process: requests wait as futures, queries run in the tasks of those who ask, looks are
made by whoever can.

A live query is the answer under a key, and a callback: `ask` for it, `watch` its key, send it; when the callback comes,
ask again. `watch` says whether that very answer is still kept, so no change between the two is missed.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Hashable, Sequence
from enum import Enum
from time import monotonic
from typing import Any, NamedTuple, Protocol

from toque.cache.decisions import Again, Answer, Decision, Hit, Look, Need, Run
from toque.cache.entries import Entries
from toque.cache.predicates import ReadSet
from toque.cache.protocol import Coherence, Seen
from toque.cache.snapshot import Snapshot
from toque.call.tasks import cancel
from toque.contract.errors import Error, Unavailable

__all__ = ["Fly", "How", "Landed", "Landing", "Looker", "Runner"]

log = logging.getLogger("toque.cache")

BACKSTOP_S = 0.05
"""How often the log is looked at while answers are asked for: what psql writes rings no bell."""

USED_S = 5.0
"""How long after the last question that goes on: then an idle app asks its database nothing."""

HURRY_S = 0.1
"""How long a request waits for a look, which takes a millisecond, before it asks the database instead."""


class Landing(NamedTuple):
    """What a flight brought: a value for all who wait, or what it raised."""

    value: Any
    is_lasting: bool = True
    is_shared: bool = True


class Looker(Protocol):
    """How this process looks at the log of changes."""

    def look(self, before: Snapshot | None) -> Seen | Awaitable[Seen]:
        """What was committed since *before*; at once, or when it is awaited. Raises: Unavailable."""
        ...

    @property
    def place(self) -> str:
        """The full name of the log that was last looked into, for those alone who may read it; empty where it tells
        nothing of other machines."""
        ...

    def open(self) -> None:
        """Make ready. Raises: Unavailable."""

    def close(self) -> None:
        """Let go of everything."""

    @property
    def is_immediate(self) -> bool:
        """Whether it looks without waiting, so that it is asked before every answer."""
        ...

    def has_news(self) -> bool:
        """Whether anything was committed since the last look; True where nobody knows. Raises: Unavailable."""
        ...


Fly = Callable[[int], Awaitable[Landing]]
"""Runs the query for the flight of this number; raises what only its own run can fail with."""


class How(Enum):
    """How a request came to its answer."""

    HIT = 1
    JOINED = 2
    RUN = 3
    """It ran the query itself, maybe for others too."""
    AGAIN = 4
    """It did not: it is to ask again, under a key that tells more."""


class Landed(NamedTuple):
    """The answer to one request."""

    value: Any
    how: How
    is_kept: bool = True


class _ForLook(NamedTuple):
    """Those who wait for one look."""

    futures: list[Future[bool]]
    hurry: asyncio.TimerHandle


class Runner:
    """See the module.

    Args:
        on_epoch: told, before anything of it is believed, that the log or the schema is another one than before.
        on_changes: told that a look has found changes.
    """

    def __init__(
        self,
        entries: Entries,
        looker: Looker,
        on_epoch: Callable[[str], None],
        on_changes: Callable[[], None] | None = None,
    ) -> None:
        self.entries = entries
        self.looks = 0
        """How often it has looked."""
        self.lost_since: float | None = None
        """Since when, on the monotonic clock, nobody can say what has changed; None where somebody can."""
        kept: Any = entries  # It keeps what weighs something, and is given nothing else.
        self._coherence = Coherence(kept)
        self._looker = looker
        self._on_epoch = on_epoch
        self._on_changes = on_changes
        self._tickets = 0
        self._waiting: dict[int, Future[Landed]] = {}
        self._for_look: dict[int, _ForLook] = {}
        self._snapshot: Snapshot | None = None
        self._epoch = ""
        self._looking: Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = 0.0
        self._is_open = False
        self._watchers: dict[Hashable, list[Callable[[], None]]] = {}
        entries.on_gone = self._gone

    @property
    def epoch(self) -> str:
        """The log that was last looked into."""
        return self._epoch

    @property
    def place(self) -> str:
        """See `Looker.place`."""
        return self._looker.place

    @property
    def snapshot(self) -> Snapshot | None:
        """What was applied; what overlaps an answer that is kept now, and is in it, the answer does not miss."""
        return self._snapshot

    def start(self) -> None:
        """Be ready to look. Raises: Unavailable."""
        self._looker.open()
        self._is_open = True

    async def stop(self) -> None:
        """Look no more, and keep nothing."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await cancel(self._looking)
        self._looking = None
        self.entries.clear()
        self._looker.close()

    # Requests.

    def at_once(self, key: Hashable, need: Need) -> Any | None:
        """What may be answered from memory this moment; None where nothing. To be asked before `ask`, and without a
        wait in between.

        Raises: Unavailable where nobody can say what has changed, so that only the database can answer.
        """
        now = self._used_at = monotonic()
        if self._looker.is_immediate:
            if self._looker.has_news():
                self._do(self._coherence.wake(now))
                if self._looker.has_news():
                    raise Unavailable("the log of changes cannot be followed now")
        elif self._timer is None:
            self._begin_backstop()
        return self._coherence.at_once(key, need, now)

    async def ask(self, key: Hashable, need: Need, fly: Fly) -> Landed:
        """The answer under *key*, which *fly* finds if nobody else does. Raises: what *fly* raises."""
        look, is_looked = self._coherence.look_for(key, need, monotonic()), True
        if look is not None:
            is_looked = self._coherence.has_applied(look) or await self._look_shared(look)
            value = self._coherence.at_once(key, need, monotonic(), look)
            if value is not None:
                return Landed(value, How.HIT)
        self._tickets = ticket = self._tickets + 1
        future: Future[Landed] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = future
        hurry: asyncio.TimerHandle | None = None
        try:
            self._do(self._coherence.ask(ticket, key, need, monotonic()))
            if not is_looked:
                self._hurry(ticket)
            elif not future.done():
                hurry = asyncio.get_running_loop().call_later(HURRY_S, self._hurry, ticket)
            landed = await future
            if landed.how is not How.RUN:
                return landed
            flight: int = landed.value
            value, is_lasting, is_shared = await fly(flight)
            decisions = self._coherence.land(flight, value, monotonic(), is_lasting=is_lasting, is_shared=is_shared)
            self._do([each for each in decisions if getattr(each, "ticket", None) != ticket])
            return Landed(value, How.RUN, self.entries.find(key) is value)
        except BaseException:
            # Its own deadline, or its own connection: those who wait for it do not share its end.
            self._waiting.pop(ticket, None)
            self._do(self._coherence.leave(ticket, monotonic()))
            raise
        finally:
            if hurry is not None:
                hurry.cancel()

    def _look_shared(self, look: int) -> Future[bool]:
        """Wait for *look* with all who do: whether it was applied. Who is one of a thousand costs a future, and no
        timer of his own."""
        loop = asyncio.get_running_loop()
        waiting = self._for_look.get(look)
        if waiting is None:
            waiting = self._for_look[look] = _ForLook([], loop.call_later(HURRY_S, self._let_go, look))
        future: Future[bool] = loop.create_future()
        waiting.futures.append(future)
        self._do(self._coherence.await_look(look, monotonic()))
        return future

    def _let_go(self, look: int) -> None:
        """Have those who wait for *look* go on."""
        waiting = self._for_look.pop(look)
        waiting.hurry.cancel()
        is_looked = self._coherence.has_applied(look)
        for future in waiting.futures:
            if not future.done():
                future.set_result(is_looked)

    def begin(self, flight: int) -> None:
        """The snapshot of *flight* is about to be taken."""
        self._coherence.begin(flight, monotonic())

    def read(self, flight: int, part: ReadSet) -> None:
        """*flight* reads *part*."""
        self._coherence.read(flight, part)

    def adopt(self, key: Hashable, value: Any, reads: ReadSet, at: Snapshot, epoch: str) -> bool:
        """Keep under *key* what another process kept when it had applied *at*, if it still holds: whether it does."""
        return self._coherence.adopt(key, value, [reads], at, epoch) and self.entries.find(key) is value

    def watch(self, key: Hashable, value: Any, on_gone: Callable[[], None]) -> bool:
        """Have *on_gone* called once, when *value* is not kept under *key* any more, because it may have changed or for
        want of room. Returns whether it is kept now; else nothing will be called, and it is time to ask again."""
        if self.entries.find(key) is not value:
            return False
        self._watchers.setdefault(key, []).append(on_gone)
        if self._timer is None:
            self._begin_backstop()
        return True

    def unwatch(self, key: Hashable, on_gone: Callable[[], None]) -> None:
        """Have it not called."""
        watchers = self._watchers.get(key, [])
        if on_gone in watchers:
            watchers.remove(on_gone)
        if not watchers:
            self._watchers.pop(key, None)

    # Looks.

    def committed(self) -> None:
        """A command of this process is committed, and nobody has heard of it yet."""
        self._do(self._coherence.committed(monotonic()))

    def wake(self) -> None:
        """There may be news."""
        if self._is_open:
            self._do(self._coherence.wake(monotonic()))

    async def barrier(self) -> bool:
        """Come back when a look that began from now on was applied: whether it was."""
        wanted = self.looks + (2 if self._looking is not None else 1)
        self.wake()
        while self._looking is not None and self.looks < wanted:
            await asyncio.wait([self._looking])
        return self.looks >= wanted

    def _do(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Hit(ticket, value):
                    self._tell(ticket, Landed(value, How.HIT))
                case Answer(ticket, value):
                    self._tell(ticket, Landed(value, How.JOINED))
                case Again(ticket):
                    self._tell(ticket, Landed(None, How.AGAIN))
                case Run(ticket, flight):
                    self._tell(ticket, Landed(flight, How.RUN))
                case Look():
                    self._look()

    def _tell(self, ticket: int, landed: Landed) -> None:
        future = self._waiting.pop(ticket, None)
        if future is not None and not future.done():
            future.set_result(landed)

    def _look(self) -> None:
        if not self._is_open:
            self._lost(Unavailable("nobody looks any more"))
        elif not self._looker.is_immediate:
            self._looking = asyncio.get_running_loop().create_task(self._look_and_wait())
        else:
            try:
                found = self._looker.look(self._snapshot)
            except Error as error:
                self._lost(error)
                return
            assert isinstance(found, Seen), "whoever looks at once has found something"
            self._apply(found)

    async def _look_and_wait(self) -> None:
        try:
            found = self._looker.look(self._snapshot)
            seen = found if isinstance(found, Seen) else await found
        except Exception as error:
            self._looking = None
            self._lost(error)
            return
        self._looking = None
        self._apply(seen)

    def _apply(self, seen: Seen) -> None:
        self.looks += 1
        self.lost_since = None
        self._snapshot = seen.snapshot
        if seen.epoch != self._epoch:
            self._epoch = seen.epoch
            self._on_epoch(seen.epoch)
        if self._on_changes is not None and (seen.changes or seen.is_gap):
            self._on_changes()
        self._do(self._coherence.looked(seen, monotonic()))
        for look in [look for look in self._for_look if self._coherence.has_applied(look)]:
            self._let_go(look)

    def _lost(self, error: BaseException) -> None:
        log.debug("the log of changes cannot be looked at: %s", error)
        now = monotonic()
        self.lost_since = self.lost_since or now
        self._do(self._coherence.lost(now))
        for look in list(self._for_look):
            self._let_go(look)

    def _hurry(self, ticket: int) -> None:
        self._do(self._coherence.hurry(ticket, monotonic()))

    # What goes on by itself.

    def _begin_backstop(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BACKSTOP_S, self._backstop)

    def _backstop(self) -> None:
        self._timer = None
        if not self._is_open or (monotonic() - self._used_at > USED_S and not self._watchers):
            return
        try:
            if self._looker.has_news():
                self.wake()
        except Error as error:
            self._lost(error)
        self._begin_backstop()

    def _gone(self, key: Hashable) -> None:
        # Later, because this is in the middle of a step of the protocol.
        for on_gone in self._watchers.pop(key, ()):
            asyncio.get_running_loop().call_soon(on_gone)
