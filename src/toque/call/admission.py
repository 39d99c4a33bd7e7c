"""Admission: a known number of calls at once, none beyond its deadline, and none for a caller who has left.

One clock serves all calls. A timer for each would cost more than most calls do; a look at all that are under way,
fifty times a second and only while there are any, costs next to nothing and is late by a tick at most.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Task, current_task
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from toque.call.context import Context
from toque.call.plan import Arguments, Handler
from toque.contract.errors import DeadlineExceeded, Overloaded

__all__ = ["CallerLeft", "Gate"]

TICK_S = 0.02
"""How late a deadline may be noticed: small beside the shortest deadline that makes sense over a network."""

TICKS_UNTIL_WATCHED = 2
"""A call is watched for its caller's leaving once it has run this many ticks: most have ended by then, and cancelled
work must have freed its connection within 100 ms."""

RECEIVING_RATIO = 4
"""How many calls may be under way for each that may work: the others wait for bodies, which slow clients take their
time to send. A body is a megabyte at most unless an app says otherwise, so memory stays bounded."""

RETRY_AFTER_S = 1.0
"""What a refused caller is told to wait: the shortest that `Retry-After` can say (RFC 9110, 10.2.3)."""


class CallerLeft(Exception):
    """The caller went away; there is nobody to answer."""


class Gate:
    """The calls under way in this worker, as many as it can hold."""

    def __init__(self, calls_max: int) -> None:
        self.calls_max = calls_max
        self._calls: dict[Context, Task[Any] | None] = {}
        self._ages: dict[Context, int] = {}
        self._watchers: dict[Context, Task[None]] = {}
        self._is_ticking = False
        self.on_tick: Callable[[], None] = lambda: None
        """What else is to be done now and then while there are calls."""

    @property
    def is_idle(self) -> bool:
        return not self._calls

    @property
    def is_full(self) -> bool:
        count = len(self._calls)
        if count < self.calls_max or count >= self.calls_max * RECEIVING_RATIO:
            return count >= self.calls_max
        return sum(not context.is_receiving for context in self._calls) >= self.calls_max

    def stage(self, call: Handler) -> Handler:
        """*call*, admitted, and stopped at its deadline or when its caller has left."""
        calls, calls_max = self._calls, self.calls_max

        async def admitted(context: Context, arguments: Arguments) -> Any:
            if len(calls) >= calls_max and self.is_full:
                raise Overloaded(f"{len(calls)} calls are under way already", retry_after_s=RETRY_AFTER_S)
            if not self._is_ticking:
                self._start()
            task = calls[context] = current_task()
            try:
                return await call(context, arguments)
            except CancelledError:
                if context.stopped is None or task is None or task.cancelling() > 1:
                    raise
                raise context.stopped from None
            finally:
                del calls[context]
                if context.stopped is not None and task is not None:
                    # However the function took its stop: the task's next call is not stopped by it.
                    task.uncancel()

        return admitted

    def _start(self) -> None:
        self._is_ticking = True
        asyncio.get_running_loop().call_later(TICK_S, self._tick)

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
