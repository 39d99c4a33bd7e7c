"""The first two policies: every call is observed, and admitted to a known number of calls at once, none of them
beyond its deadline and none for a caller who has left.

One clock serves all calls. A timer for each would cost more than most calls do; a look at all that are under way,
fifty times a second and only while there are any, costs next to nothing and is late by a tick at most.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, current_task
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any

from toque.call.context import CURRENT, Context
from toque.call.notice import Notice
from toque.call.observation import BOUNDS_S, OK, CallerLeft, Figures, Report, code_of, for_the_call, silent
from toque.call.plan import Arguments, Handler
from toque.call.waiting import RETRY_AFTER_S
from toque.contract.errors import DeadlineExceeded, Overloaded, RequestTimeout
from toque.contract.operation import Priority

__all__ = ["Gate"]

TICK_S = 0.02
"""How late a deadline may be noticed: small beside the shortest deadline that makes sense over a network."""

TICKS_UNTIL_WATCHED = 2
"""A call is watched for its caller's leaving once it has run this many ticks: most have ended by then, and cancelled
work must have freed its connection within 100 ms."""

RECEIVING_RATIO = 4
"""How many calls may be under way for each that may work: the others wait for bodies, which slow clients take their
time to send. A body is a megabyte at most unless an app says otherwise, so memory stays bounded."""

ROOM_RATIOS = {Priority.CRITICAL: 1.25, Priority.NORMAL: 1.0, Priority.SHEDDABLE: 0.75}
"""How many calls of each class are admitted for each that a worker can hold. Nobody waits at the gate, so room is all
it has to give: a quarter is enough to tell the classes apart, and little enough to be held."""


class Gate:
    """The calls under way in this worker, as many as it can hold."""

    def __init__(self, calls_max: int) -> None:
        self.calls_max = calls_max
        self._calls: dict[Context, Task[Any] | None] = {}
        self._ages: dict[Context, int] = {}
        self._watchers: dict[Context, Task[None]] = {}
        self._is_ticking = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notice = Notice("%d calls refused because as many as allowed are under way")
        self.on_tick: Callable[[], None] = lambda: None
        """What else is to be done now and then while there are calls."""

    @property
    def is_idle(self) -> bool:
        return not self._calls

    @property
    def is_full(self) -> bool:
        """Whether it would refuse a normal call."""
        return self._holds(self.calls_max)

    def stage(
        self,
        call: Handler,
        figures: Figures,
        report: Report = silent,
        *,
        priority: Priority = Priority.NORMAL,
        report_above_s: float = inf,
    ) -> Handler:
        """*call*, observed and admitted: counted in *figures*, known to logs as the current one while it runs, and
        stopped at its deadline or when its caller has left.

        Two policies in one step, because every call passes both and each step costs as much as a small function.

        Args:
            priority: how important a call is unless its caller asks for less.
            report: told of every call that did not end well, and of those that took *report_above_s* or longer.
        """
        calls = self._calls
        rooms = [max(1, int(self.calls_max * ROOM_RATIOS[each])) for each in Priority]
        # What nearly every call has; looking a member of an enum up costs as much as a small function.
        unasked, usual_room = Priority.CRITICAL, rooms[priority]
        buckets, bounds = figures.buckets, BOUNDS_S

        async def admitted(context: Context, arguments: Arguments) -> Any:
            around = CURRENT.get()
            if around is None and context.priority is unasked:
                context.priority, room = priority, usual_room
            else:
                context.priority = self._priority(context, around, priority)
                room = rooms[context.priority]
            if len(calls) >= room and self._holds(room):
                raise self._refusal(context, figures, report)
            if not self._is_ticking:
                self._start()
            CURRENT.set(context)
            figures.in_flight += 1
            # The loop is known: before Python 3.12 asking for it asks the kernel each time whether we were forked.
            task = calls[context] = current_task(self._loop)
            try:
                value = await call(context, arguments)
            except BaseException as error:
                failure = _failure(context, task, error)
                code, seconds = code_of(failure), monotonic() - context.began
                figures.record(code, seconds)
                report(context, code, seconds, failure)
                try:
                    if failure is error:
                        raise
                    raise failure from failure.__cause__
                finally:
                    # What is raised knows this frame; were it known here (or in the context), the two would keep
                    # each other, and the request with its connection, until the garbage collector comes by.
                    del failure
            else:
                # What `record` does, without the price of calling it: most calls end here.
                seconds = monotonic() - context.began
                buckets[bisect_left(bounds, seconds)] += 1
                figures.seconds += seconds
                if seconds >= report_above_s:
                    report(context, OK, seconds, None)
                return value
            finally:
                del calls[context]
                figures.in_flight -= 1
                if context.stopped is not None and task is not None:
                    # However the function took its stop: the task's next call is not stopped by it.
                    task.uncancel()
                    context.stopped = None
                # A task that serves one call ends with it. Only a call within a call has somebody to give back to.
                # Not Token.reset: a coroutine that is closed by the garbage collector ends in another context.
                if around is not None:
                    CURRENT.set(around)

        return admitted

    def _priority(self, context: Context, around: Context | None, priority: Priority) -> Priority:
        """A call within a call is as important as the one that waits for it; a caller may ask for less."""
        if around is not None and around in self._calls:
            return around.priority
        return max(context.priority, priority)

    def _refusal(self, context: Context, figures: Figures, report: Report) -> Overloaded:
        figures.record(Overloaded.code, 0.0)
        report(context, Overloaded.code, 0.0, None)
        self._notice.happened(monotonic())
        return Overloaded(f"{len(self._calls)} calls are under way already", retry_after_s=RETRY_AFTER_S)

    def _holds(self, calls_max: int) -> bool:
        """Whether *calls_max* are at work, or so many more wait for bodies that memory needs the end of it."""
        count = len(self._calls)
        if count < calls_max or count >= calls_max * RECEIVING_RATIO:
            return count >= calls_max
        return sum(not context.is_receiving for context in self._calls) >= calls_max

    def _start(self) -> None:
        self._is_ticking = True
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        """Look at every call once. The clock stops when a look finds none."""
        for context in self._watchers.keys() - self._calls.keys():
            self._watchers.pop(context).cancel()
        self._is_ticking = False
        if self._calls:
            self._start()
            self._look(monotonic())
        else:
            self._ages = {}
        self.on_tick()

    def _look(self, now: float) -> None:
        # Only what was under way at the last look can have grown old.
        self._ages = {context: self._ages.get(context, 0) + 1 for context in self._calls}
        for context, age in self._ages.items():
            if now >= context.deadline:
                self._stop(context, DeadlineExceeded("the call was stopped at its deadline"))
            elif now >= context.receive_by:
                self._stop(context, RequestTimeout("the body did not arrive within its time"))
            elif age == TICKS_UNTIL_WATCHED and context.left is not None:
                self._watch(context, context.left)

    def _stop(self, context: Context, reason: Exception) -> None:
        task = self._calls.get(context)
        if task is not None and context.stopped is None:
            context.stopped = reason
            task.cancel()

    def _watch(self, context: Context, left: Callable[[], Awaitable[Any]]) -> None:
        async def until_left() -> None:
            await left()
            self._stop(context, CallerLeft())

        self._watchers[context] = asyncio.get_running_loop().create_task(until_left())


def _failure(context: Context, task: Task[Any] | None, error: BaseException) -> BaseException:
    """Why the call ended: a cancellation that was ours alone is the reason for it, and any other error is itself; but
    what would end the process, as `sys.exit()` does, or the call without an answer, ends the call as an error."""
    if isinstance(error, CancelledError) and task is not None:
        if context.stopped is not None:
            return error if task.cancelling() > 1 else context.stopped
        if type(error) is CancelledError and not task.cancelling():
            # Nobody has cancelled this call: the function raised it, or awaited what others had cancelled.
            return for_the_call(error)
    return error if isinstance(error, Exception | CancelledError | GeneratorExit) else for_the_call(error)
