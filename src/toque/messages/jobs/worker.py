"""The jobs of one process: claimed in groups, many at once, never more than there are slots for."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from random import uniform
from time import monotonic
from uuid import UUID

from toque.call.trouble import Trouble
from toque.contract.errors import Error
from toque.contract.limits import Limits
from toque.log.tail import IDLE_S, Tail
from toque.messages.jobs.book import Book, Compiled
from toque.messages.jobs.job import SUSPECT_FROM, Outcome, Start
from toque.messages.jobs.rescue import Rescue, claim_of
from toque.messages.jobs.runner import Cancelled, Draining, Runner, Running, context_of
from toque.messages.jobs.settling import FLUSH_S, Settling
from toque.messages.jobs.table import LOOK_S, JobTable, Mine, View
from toque.store.store import Store

__all__ = ["Worker"]

log = logging.getLogger("toque.jobs")

AHEAD_S = 1.0
"""Jobs are claimed ahead of their turn as far as they would fill a second: later ones may be more urgent, and other
processes may be free."""

UNSTARTED_S = 5.0
"""What was claimed ahead and still waits after this goes back to the others: it was not to take more than a second."""

AGAIN_S = 1.0
"""After a failure of our own: the database is away, or the app is full."""

SWEEP_S = 60.0
"""Between two sweeps; one that left some is followed by another at the next look, so that no table grows for ever."""

SETTLED_S = 2 * FLUSH_S
"""After the end of a job that others wait for: as soon as that is written, as a rule."""

ADOPT_S = 5.0
"""Between two looks for jobs that were enqueued before their keys had limits, or by a release that knew of none."""

DUE_AGAIN_S = 0.02
"""What is due and was not let begin is held by another transaction, or one of more than a step takes: no reason to ask
without a pause."""

COMPANY_S = 0.5
"""What would begin beside a suspect, or is one and would not be alone, looks again so soon."""


class Worker:
    """Works on the jobs of one store from start to stop.

    Args:
        slots: how many jobs run at once.
        alone: held by the only one at work, be it a job or an event, where it matters which one ends the process.
        drain_s: how long those that run may go on when it stops.
    """

    def __init__(
        self, store: Store, tail: Tail, book: Book, *, slots: int, drain_s: float, alone: asyncio.Lock
    ) -> None:
        self.number = 0
        self._tail = tail
        self._book = book
        self._slots = slots
        self._drain_s = drain_s
        self._alone = alone
        self._table = JobTable(store, book.names)
        self._settling = Settling(self._table)
        self._runner = Runner(store, book, self._settling, self._wake_after)
        self._rescue = Rescue(self._table, tail, store.dialect_name)
        self._running: dict[UUID, Running] = {}
        self._ahead: deque[tuple[Start, float]] = deque()
        self._alarm = asyncio.Event()
        self._hungry: set[str] = set()
        self._crowded: frozenset[str] = frozenset()
        self._workers: frozenset[int] = frozenset()
        self._unknown: set[tuple[UUID, int]] = set()
        self._numbers: set[int] = set()
        self._looked = -LOOK_S
        self._sweep_due = monotonic() + SWEEP_S
        self._adopted = -ADOPT_S
        self._last_queue = ""
        self._mean_s = AHEAD_S
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._working: Task[None] | None = None
        self._is_stopping = False

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many starts ended in which way, by queue."""
        return self._runner.counts

    @property
    def running(self) -> Counter[str]:
        """How many jobs run here, by queue."""
        return Counter(self._book.by_name[each.start.name].rules.queue for each in self._running.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way here."""
        return not self._running and not self._ahead

    def returned(self, jobs: Iterable[tuple[str, int]]) -> None:
        """Say that these, by queue and position, may begin again."""
        for queue, pos in jobs:
            self._table.freed(queue, pos)

    # From start to stop.

    async def start(self) -> None:
        """Begin to work."""
        self._tail.on_news(self._alarm.set)
        self._tail.on_lost(self._alarm.set)
        self._book.report = self._report
        self._alarm.set()
        self._working = asyncio.get_running_loop().create_task(self._work())

    async def drain(self) -> None:
        """Claim nothing more, and give back what has not begun; what runs goes on. It may be said twice."""
        self._is_stopping = True
        if self._working is not None:
            # What is being claimed is claimed to its end, so that it is known here and can be given back.
            self._alarm.set()
            await asyncio.wait((self._working,), timeout=self._drain_s)
            self._working.cancel()
        if self._timer is not None:
            self._timer.cancel()
        while self._ahead:
            self._runner.give_back(self._ahead.popleft()[0])
        await self._rescue.resign()

    async def stop(self) -> None:
        """Claim nothing more, give back what has not begun, let end what runs, and give back the rest: what a deploy
        interrupts has lost no attempt by it."""
        await self.drain()
        if tasks := [running.task for running in self._running.values() if running.task is not None]:
            _, late = await asyncio.wait(tasks, timeout=self._drain_s)
            for running in list(self._running.values()):
                running.stop(Draining())
            if late:
                await asyncio.wait(late, timeout=self._drain_s)
        # What cannot be written in time is begun again by others, as after a crash.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._settling.flush()
                if self.number and (left := await self._table.held(self.number)):
                    await self._table.settle(again=[Outcome(id=job.id, fence=job.fence, refund=1) for job in left])
        await self._tail.release(claim_of(self.number))
        self._tail.ring()

    async def _work(self) -> None:
        trouble = Trouble(log, "no jobs can be claimed")
        while not self._is_stopping:
            await self._alarm.wait()
            self._alarm.clear()
            try:
                await self._turn()
            except Exception as error:
                if isinstance(error, Error):
                    trouble.met(error)
                else:
                    log.exception("no jobs can be claimed")
                # Deaf to news: behind a pooler that is away, the log itself goes on telling of some.
                await asyncio.sleep(uniform(AGAIN_S / 2, AGAIN_S))  # noqa: S311 - to spread, not to hide
                self._alarm.set()
            else:
                trouble.over()

    # Claiming.

    async def _turn(self) -> None:
        """Look for what there is, and claim as much as there is room for."""
        if not await self._is_known():
            return
        while not self._is_stopping:
            if not self._hungry or monotonic() - self._looked >= self._table.look_s:
                await self._look()
            self._give_back_late()
            claimed = 0
            for queue in self._in_turn():
                if (room := self._room()) <= 0 or self._is_stopping:
                    return
                self._last_queue = queue
                claimed += await self._claim(queue, room)
            if not claimed or not self._hungry:
                return

    def _in_turn(self) -> list[str]:
        """The queues with something to begin, from the one after the last on: a long one must not hold up others."""
        queues = sorted(self._hungry)
        first = bisect_right(queues, self._last_queue)
        return queues[first:] + queues[:first]

    async def _claim(self, queue: str, room: int) -> int:
        """Claim from one queue: how many."""
        limits = self._book.limits.get(queue)
        if limits is None:
            starts = await self._table.claim(queue, room, self.number)
        else:
            # Only what begins at once: what is claimed ahead would count as running where it does not.
            room = min(room, self._slots - len(self._running) - len(self._ahead))
            if room <= 0:
                return 0
            starts = await self._table.claim_limited(limits, room, self.number)
        if len(starts) < room and not (queue in self._crowded and await self._table.set_aside(queue)):
            self._hungry.discard(queue)
            if limits is not None:
                self._wake_for(limits)
        self._accept(starts)
        return len(starts)

    def _wake_for(self, limits: Limits) -> None:
        """Look again when more may begin by a rate; by the other limits more may when something ends."""
        for rate in (limits.rate, limits.rate_per_key):
            if rate is not None:
                self._wake_in(min(rate.slice_s, LOOK_S))

    async def _is_known(self) -> bool:
        """Whether this process holds its number, so that others see that it lives. It claims nothing before."""
        if self.number and self._tail.holds(claim_of(self.number)):
            return True
        if self.number and await self._tail.claim(claim_of(self.number)):
            return True
        number = await self._table.number()
        if not await self._tail.claim(claim_of(number)):
            self._wake_in(AGAIN_S)
            return False
        self.number = number
        self._numbers.add(number)
        return True

    async def _look(self) -> None:
        self._looked = monotonic()
        view = await self._see()
        if view.whole is not None:
            self._compare(view.whole.mine)
        await self._abandon_stuck()
        is_due = view.due_s is not None and view.due_s <= 0
        if is_due:
            await self._table.promote()
        if view.has_left:
            await self._table.follow()
        if is_due or view.has_left:
            view = await self._see()
        if view.due_s is not None:
            self._wake_in(view.due_s if view.due_s > 0 else DUE_AGAIN_S)
        if view.whole is None or view.again_s > 0:
            self._wake_in(view.again_s)
        # Those of the last look that saw them: who dies until the next one that does was there before, as a rule. What
        # was begun under a number that was lost still runs here.
        if others := self._workers - (self._numbers if self._running else {self.number}):
            await self._rescue.look(others)
            if view.whole is None:
                self._wake_in(LOOK_S)
        if monotonic() - self._adopted > ADOPT_S:
            self._adopted = monotonic()
            for limits in self._book.limits.values():
                if limits.is_by_key:
                    await self._table.adopt(limits.queue)
        if monotonic() > self._sweep_due:
            has_more = await self._table.sweep()
            self._sweep_due = monotonic() + (0.0 if has_more else SWEEP_S)
            if has_more:
                self._wake_in(LOOK_S)

    async def _see(self) -> View:
        view = await self._table.look(self.number)
        self._hungry |= view.queues
        if view.whole is not None:
            self._crowded = view.whole.crowded
            self._workers = view.whole.workers
        return view

    def _compare(self, mine: list[Mine]) -> None:
        """Stop what was cancelled, and give back what nobody runs: a claim whose answer was lost."""
        known = self._running.keys() | {start.id for start, _ in self._ahead}
        unknown = {(job.id, job.fence) for job in mine if job.id not in known and self._settling.is_empty}
        for id, fence in unknown & self._unknown:
            self._settling.add("again", Outcome(id=str(id), fence=fence, refund=1))
        self._unknown = unknown
        for job in mine:
            if job.is_cancelled and job.id in self._running:
                self._running[job.id].stop(Cancelled())

    async def _abandon_stuck(self) -> None:
        for running in [each for each in self._running.values() if each.is_stuck]:
            del self._running[running.start.id]
            await self._runner.abandon(self._book.by_name[running.start.name], running)
        self._begin()

    def _room(self) -> int:
        """How many to claim: free slots, and what fills a second ahead. None before half of that has been begun."""
        in_time = int(self._slots * AHEAD_S / max(self._mean_s, 0.001))
        # Of jobs that take longer fewer than there are slots end in time: nothing is ahead of them, not less than that.
        ahead_max = max(min(in_time, 2 * self._slots) - self._slots, 0)
        room = self._slots + ahead_max - len(self._running) - len(self._ahead)
        return room if room > 0 and len(self._ahead) <= ahead_max // 2 else 0

    def _accept(self, starts: list[Start]) -> None:
        here = [*(each.start.crashes for each in self._running.values()), *(start.crashes for start, _ in self._ahead)]
        most = max(here, default=0)
        for start in starts:
            if start.is_cancelled:
                self._runner.cancelled(start)
            elif (start.crashes and most and max(start.crashes, most) >= SUSPECT_FROM) or (
                start.is_suspect and self._alone.locked()
            ):
                # It could not be told which of them ended the process.
                self._runner.give_back(start, COMPANY_S)
            else:
                most = max(most, start.crashes)
                self._ahead.append((start, monotonic()))
        self._begin()

    def _begin(self) -> None:
        while self._ahead and len(self._running) < self._slots and not self._is_stopping:
            start, _ = self._ahead.popleft()
            job = self._book.by_name[start.name]
            running = Running(start, context_of(job, start))
            self._running[start.id] = running
            running.task = asyncio.get_running_loop().create_task(self._run(job, running))
            running.task.add_done_callback(partial(self._ended, running))

    async def _run(self, job: Compiled, running: Running) -> None:
        if not running.start.is_suspect:
            await self._runner.run(job, running)
            return
        async with self._alone:
            # Written down before it begins: what was only claimed when the process ended has not ended it.
            if await self._table.begin(running.start):
                await self._runner.run(job, running)

    def _give_back_late(self) -> None:
        while self._ahead and monotonic() - self._ahead[0][1] > UNSTARTED_S:
            self._runner.give_back(self._ahead.popleft()[0])

    # Running.

    def _ended(self, running: Running, task: Task[None]) -> None:
        if self._running.get(running.start.id) is running:
            del self._running[running.start.id]
        # A mean over the last some: short jobs are claimed further ahead.
        self._mean_s += (monotonic() - running.began - self._mean_s) / 16
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job %s %s", running.start.name, running.start.id, exc_info=error)
        self._begin()
        queue = self._book.by_name[running.start.name].rules.queue
        if queue in self._book.limits:
            self._hungry.add(queue)
        elif self._hungry and self._room() > 0:
            self._alarm.set()
        if running.start.key:
            self._table.freed(queue, running.start.pos)
        if running.start.key or queue in self._book.limits:
            # Others of its key or its queue may begin when its end is written.
            self._wake_in(SETTLED_S)

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._timer_at <= now + seconds:
            return
        if self._timer is not None:
            self._timer.cancel()
        # Kept here: what uvloop gives for less than half a millisecond does not know when it is.
        self._timer_at = now + seconds
        self._timer = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer_at = 0.0
        self._alarm.set()

    def _report(self, id: str, fence: int, progress: str) -> None:
        self._settling.add("progress", Outcome(id=id, fence=fence, result=progress))

    def _wake_after(self, seconds: float) -> None:
        """For one job that comes again: the timer is for the first of all. What is later than the tail's next look is
        found by that; a timer for each that waits, for days say, would be one too many."""
        if seconds <= IDLE_S:
            asyncio.get_running_loop().call_later(seconds, self._alarm.set)
