"""Owning a consumer: from taking it over until it is left, or lost.

Pages of the log are read ahead and handed out in the order of keys; the cursor follows where everything before it is
settled, that is handled or parked. Whatever happens in between is repeated from there by the next owner, and the inbox
knows what was handled already.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from toque.contract.errors import Overloaded, Unavailable
from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.messages.backoff import CRASHES_MAX, lack_s, pause_s
from toque.messages.consumer import Consumer, Desk
from toque.messages.handling import UNKNOWN, Lacking
from toque.messages.lanes import Lanes
from toque.messages.parked import Attempted, Parking, Trouble
from toque.messages.register import CAREFUL_FROM, Tenure

__all__ = ["Ownership"]

log = logging.getLogger("toque.messages")

T = TypeVar("T")

WINDOW = 500
"""Events that are read and not settled: enough to keep all at work while one takes long, and little to repeat."""

SAVE_S = 1.0
"""Between two notes of the cursor: what it is behind by is read again after a crash, and found in the inbox."""

PASS_S = 30.0
"""The same where only events of others have gone by: nothing but the rotation waits for that."""

LOOK_S = 1.0
"""How old may be what is known of the consumer's row, and how often it is looked at what others did to what is parked:
an operator's hand is felt after a second."""


@dataclass(eq=False)
class _Page:
    after: Cursor
    is_own: bool
    """Whether any of its events were the consumer's."""
    open: int = 0
    """How many of them are not settled."""


@dataclass(frozen=True, eq=False)
class _Item:
    entry: Entry
    page: _Page


class Ownership:
    """One consumer in the hands of this process."""

    def __init__(self, consumer: Consumer, desk: Desk, tenure: Tenure) -> None:
        self.consumer = consumer
        self._desk = desk
        self._tenure = tenure
        self._news = asyncio.Event()
        self._stir = asyncio.Event()
        """Set when something parked may be due."""
        self._ending = asyncio.Event()
        self._lanes: Lanes[_Item] = Lanes(desk.at_once, self._begin)
        self._pages: deque[_Page] = deque()
        self._read_to = tenure.cursor
        self._settled_to = tenure.cursor
        self._saved_at = self._looked_at = self._stirred_at = monotonic()
        self._state = tenure.state
        self._open = 0
        self._held: set[str] = set()
        """The keys of which something is parked that holds them up: further events of theirs are parked behind it."""
        # What is parked and what is known of it here change together: else an event that was just parked behind one
        # that is just leaving would be overtaken by the next.
        self._changing = asyncio.Lock()
        self._has_parked = True
        self._has_passed = self._is_own_settled = False
        self._is_caught_up = False
        self._trying: set[asyncio.Task[None]] = set()
        self._handling: set[asyncio.Task[None]] = set()
        # Until it has come past where the last owner may have been.
        self._to_recover = WINDOW
        self._is_careful = tenure.crashes >= CAREFUL_FROM
        self._is_well = tenure.crashes == 0
        self._settled_count = 0
        self._begun_looks = self._empty_look = 0
        self._is_retrier_idle = False
        self._grace_s = 0.0

    # What its owner's service asks of it.

    async def work(self) -> None:
        """Work until `end`. Raises: Fenced when somebody else has taken it over (in an ExceptionGroup)."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._held = await self._surely(self._recover)
            going = [group.create_task(act()) for act in (self._read, self._retry, self._save)]
            await self._ending.wait()
            for task in going:
                task.cancel()
            self._lanes.close()
            if running := self._handling | self._trying:
                await asyncio.wait(running, timeout=self._grace_s)
            for task in self._handling | self._trying:
                task.cancel()
        # What was being tried and is cancelled has its attempt refunded by the next owner: this one ends well.
        await self._note(is_open=False)

    def end(self, grace_s: float) -> None:
        """Take up nothing new, let what is at work go on for *grace_s*, and have `work` come back."""
        self._grace_s = grace_s
        self._ending.set()

    def hear(self) -> None:
        """There may be news."""
        self._news.set()
        if self._has_parked and monotonic() - self._stirred_at > LOOK_S:
            self._stirred_at = monotonic()
            self._stir.set()

    async def settled(self) -> None:
        """Come back when everything that was committed before is settled, and nothing parked is due."""
        begun = self._begun_looks
        self._news.set()
        self._stir.set()
        self._is_retrier_idle = False
        while not (self._empty_look > begun and not self._open and not self._trying and self._is_retrier_idle):
            if self._state == "paused":
                return
            await asyncio.sleep(SETTLE_LOOK_S)

    # Reading.

    async def _read(self) -> None:
        while True:
            while self._open >= WINDOW or not await self._may_work():
                await _wait(self._news, LOOK_S)
                self._news.clear()
            self._news.clear()
            self._begun_looks += 1
            look = self._begun_looks
            entries, after = await self._surely(lambda: self._desk.feed.read(self._read_to))
            self._read_to = after
            if entries:
                await self._take(entries, after)
                continue
            if not self._pages:
                self._settled_to = after
            self._empty_look = look
            self._to_recover = 0
            self._is_caught_up = True
            await self._news.wait()

    async def _may_work(self) -> bool:
        if monotonic() - self._looked_at > LOOK_S:
            self._state = await self._surely(lambda: self._desk.register.state(self._tenure))
            self._looked_at = monotonic()
            self._stir.set()
        return self._state == "running"

    async def _take(self, entries: Sequence[Entry], after: Cursor) -> None:
        event, until = self.consumer.handling.event.type_name(), self.consumer.until
        own = [entry for entry in entries if entry.type == event and (until is None or entry.at < until)]
        if own and self._to_recover:
            own = await self._surely(lambda: self._new(own))
        page = _Page(after, bool(own), len(own))
        self._pages.append(page)
        self._open += len(own)
        kept: list[_Item] = []
        for item in (_Item(entry, page) for entry in own):
            if self._is_careful or item.entry.key in self._held:
                kept.append(item)
            else:
                self._lanes.add(item.entry.key, item)
        if kept:
            await self._park([Parking(entry=item.entry, holds=bool(item.entry.key)) for item in kept], kept)
        self._settle_pages()
        self._to_recover = max(0, self._to_recover - len(own))

    async def _new(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of *entries* that no owner before has settled."""
        settled = await self._desk.parked.known(self._tenure, entries)
        settled |= await self._desk.inbox.known(self._tenure.id, entries)
        return [entry for entry in entries if entry.id not in settled]

    # Handling.

    def _begin(self, key: str, item: _Item) -> None:
        task = self._group.create_task(self._handle(key, item))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _handle(self, key: str, item: _Item) -> None:
        lacked = 0
        while isinstance(outcome := await self._run(item.entry, 1), Lacking):
            await asyncio.sleep(lack_s(lacked))
            lacked += 1
        if outcome is None:
            self._settle([item])
        else:
            await self._set_aside(item, outcome)
        self._lanes.end(key)

    async def _run(self, entry: Entry, attempt: int) -> Trouble | Lacking | None:
        outcome = await self.consumer.handling.run(entry, self.consumer.name, attempt)
        if outcome is None:
            self.consumer.counts.handled += 1
        return outcome

    async def _set_aside(self, item: _Item, trouble: Trouble) -> None:
        """Park what failed, and what waits behind it."""
        is_over = self._is_over(trouble, 1)
        holds = bool(item.entry.key) and (self.consumer.holds or not is_over)
        parking = Parking(
            entry=item.entry,
            holds=holds,
            state="dead" if is_over else "waiting",
            due_s=pause_s(1),
            attempt=1,
            reason=_reason(trouble) if is_over else "",
            errors=(trouble,),
        )
        self._count(item.entry, trouble, is_over)
        if not holds:
            await self._park([parking], [item])
            return
        # At once: the next page must not pass by.
        self._held.add(item.entry.key)
        behind = self._lanes.take(item.entry.key)
        kept = [Parking(entry=each.entry, holds=True) for each in behind]
        await self._park([parking, *kept], [item, *behind])

    async def _park(self, events: Sequence[Parking], items: Sequence[_Item]) -> None:
        async with self._changing:
            await self._surely(lambda: self._desk.parked.add(self._tenure, events))
            self._held.update(event.entry.key for event in events if event.holds)
        self._has_parked = True
        self._settle(items)
        self._stir.set()

    def _settle(self, items: Sequence[_Item]) -> None:
        for item in items:
            item.page.open -= 1
            self._open -= 1
        self._settled_count += len(items)
        self._settle_pages()
        if self._open < WINDOW <= self._open + len(items):
            self._news.set()

    def _settle_pages(self) -> None:
        while self._pages and not self._pages[0].open:
            page = self._pages.popleft()
            self._settled_to = page.after
            self._has_passed = True
            self._is_own_settled |= page.is_own

    def _is_over(self, trouble: Trouble, attempt: int) -> bool:
        return trouble.code == UNKNOWN or attempt >= self.consumer.attempts_max

    def _count(self, entry: Entry, trouble: Trouble, is_over: bool) -> None:
        if not is_over:
            self.consumer.counts.retried += 1
            return
        self.consumer.counts.dead += 1
        log.error(
            "%s could not handle %s %s (key %r), which is kept: %s; see `toque events show %s %s`",
            *(self.consumer.name, entry.type, entry.id, entry.key, trouble.error, self.consumer.name, entry.id),
        )

    # What is parked.

    async def _retry(self) -> None:
        parked, tenure = self._desk.parked, self._tenure
        while True:
            self._stir.clear()
            due_s: float | None = None
            if self._has_parked and self._state == "running":
                begun = await self._try_again()
                if not begun and not self._trying:
                    has_parked, due_s = await self._surely(lambda: parked.due_s(tenure))
                    # What was parked while that was asked is not in the answer, and has stirred.
                    self._has_parked = has_parked or self._stir.is_set()
                    self._is_careful &= bool(self._to_recover) or (due_s is not None and due_s <= 0)
            self._is_retrier_idle = not self._trying and not self._stir.is_set() and (due_s is None or due_s > 0)
            await _wait(self._stir, None if due_s is None else max(due_s, MIN_WAIT_S))

    async def _try_again(self) -> int:
        """Begin with what is due: how many those are."""
        parked, tenure = self._desk.parked, self._tenure
        if self._is_careful:
            async with self._desk.alone:
                events = await self._surely(lambda: parked.start(tenure, 1))
                for event in events:
                    await self._attempt(event)
            return len(events)
        free = self._desk.at_once - len(self._trying)
        events = await self._surely(lambda: parked.start(tenure, free)) if free > 0 else []
        for event in events:
            task = self._group.create_task(self._attempt(event))
            self._trying.add(task)
            task.add_done_callback(self._tried)
        return len(events)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._trying.discard(task)
        self._stir.set()

    async def _attempt(self, event: Attempted) -> None:
        parked, tenure, entry = self._desk.parked, self._tenure, event.entry
        outcome = await self._run(entry, event.attempt)
        if outcome is None:
            await self._free(entry, lambda: parked.leave(tenure, entry))
        elif isinstance(outcome, Lacking):
            pause = lack_s(event.attempt)
            await self._surely(lambda: parked.postpone(tenure, entry, event.errors, pause, is_refunded=True))
        else:
            await self._failed_again(event, outcome)
        self._stir.set()

    async def _failed_again(self, event: Attempted, trouble: Trouble) -> None:
        parked, tenure, entry = self._desk.parked, self._tenure, event.entry
        errors, holds = (*event.errors, trouble), self.consumer.holds
        is_over = self._is_over(trouble, event.attempt)
        self._count(entry, trouble, is_over)
        if is_over:
            reason = _reason(trouble)
            await self._free(entry, lambda: parked.bury(tenure, entry, errors, reason, holds=holds))
        else:
            await self._surely(lambda: parked.postpone(tenure, entry, errors, pause_s(event.attempt)))

    async def _free(self, entry: Entry, act: Callable[[], Awaitable[bool]]) -> None:
        """Let the key of *entry* go on where *act* says that nothing holds it up any more."""
        async with self._changing:
            if await self._surely(act):
                self._held.discard(entry.key)

    # What is noted.

    async def _recover(self) -> set[str]:
        has_crashed, holds = self._tenure.has_crashed, self.consumer.holds
        return await self._desk.parked.recover(
            self._tenure, has_crashed=has_crashed, crashes_max=CRASHES_MAX, holds=holds
        )

    async def _save(self) -> None:
        while not await self._is_done():
            await asyncio.sleep(SAVE_S)
            was_well = self._is_well
            if not (self._is_well or self._is_careful or self._to_recover):
                self._is_well = not self._open or self._settled_count >= WINDOW
            has_passed = self._has_passed and monotonic() - self._saved_at > PASS_S
            if self._is_own_settled or has_passed or was_well != self._is_well:
                await self._surely(self._note)
        self.end(0)

    async def _is_done(self) -> bool:
        """Whether a replay has come to its end, which is noted."""
        is_over = self._is_caught_up and not self._open and not self._has_parked
        if self.consumer.until is None or not is_over:
            return False
        await self._surely(lambda: self._note(is_done=True))
        return True

    async def _note(self, *, is_open: bool = True, is_done: bool = False) -> None:
        place, self._has_passed, self._is_own_settled = self._settled_to, False, False
        self._state = await self._desk.register.move(
            self._tenure, place, is_well=self._is_well, is_open=is_open, is_done=is_done
        )
        self._saved_at = monotonic()

    async def _surely(self, act: Callable[[], Awaitable[T]]) -> T:
        """What *act* comes to, tried again until there is room and a database. Raises: Fenced."""
        lacked = 0
        while True:
            try:
                return await _to_its_end(act)
            except (Unavailable, Overloaded):
                await asyncio.sleep(lack_s(lacked))
                lacked += 1


END_S = 2.0
"""How long what is being noted may still take when it is to end: a statement that is cut off costs its connection."""

MIN_WAIT_S = 0.005
"""What is due now and was not begun waits for a place."""

SETTLE_LOOK_S = 0.002


def _reason(trouble: Trouble) -> str:
    return UNKNOWN if trouble.code == UNKNOWN else "error"


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _to_its_end(act: Callable[[], Awaitable[T]]) -> T:
    """What *act* comes to; it is not cut off where it only takes its usual time."""
    task = asyncio.ensure_future(act())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=END_S)
        task.cancel()
        raise
