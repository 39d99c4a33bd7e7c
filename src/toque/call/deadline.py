"""Stopping a call at its deadline, or when its caller has left.

A call that never waits needs no guard: its first step is run at once, and only a call that stops to wait for
something is given a timer. That makes the deadline free for what is answered from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import monotonic
from types import coroutine
from typing import Any, TypeVar

from toque.contract.errors import DeadlineExceeded

__all__ = ["CallerLeft", "first_step", "guard"]

T = TypeVar("T")

WATCH_AFTER_S = 0.05
"""A call is watched for its caller's leaving once it has run this long: most end sooner, and cancelled work must
have freed its connection within 100 ms."""


class CallerLeft(Exception):
    """The caller went away; there is nobody to answer."""




def first_step(work: Coroutine[Any, Any, T]) -> tuple[bool, Any]:
    """Run *work* until it first waits.

    Returns: (True, its result) when it ended, else (False, what it waits for), to be handed to `guard`.
    """
    try:
        return False, work.send(None)
    except StopIteration as stop:
        return True, stop.value


async def guard(
    work: Coroutine[Any, Any, T],
    waited_for: Any,
    deadline: float,
    left: Callable[[], Awaitable[Any]] | None,
) -> T:
    """Finish *work*, which waits for *waited_for*; stop it at *deadline* or when *left* returns.

    Raises: DeadlineExceeded, CallerLeft; what *work* raises.
    """
    watch = _Watch(deadline, left)
    try:
        return await _rest_of(work, waited_for)
    except asyncio.CancelledError:
        if watch.reason is None or watch.task.uncancel() > 0:
            raise
        raise watch.reason from None
    finally:
        watch.stop()


class _Watch:
    """One timer: first to begin watching the caller, then for the deadline."""

    __slots__ = ("deadline", "left", "loop", "reason", "task", "timer", "watcher")

    def __init__(self, deadline: float, left: Callable[[], Awaitable[Any]] | None) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call that waits must run inside an asyncio task")
        self.task: asyncio.Task[Any] = task
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        self.left = left
        self.reason: Exception | None = None
        self.watcher: asyncio.Task[None] | None = None
        remaining_s = deadline - monotonic()
        self.timer = self.loop.call_later(
            remaining_s if left is None else min(WATCH_AFTER_S, remaining_s), self._on_timer
        )

    def _on_timer(self) -> None:
        remaining_s = self.deadline - monotonic()
        if remaining_s <= 0:
            self._cancel(DeadlineExceeded("the call was stopped at its deadline"))
            return
        self.timer = self.loop.call_later(remaining_s, self._on_timer)
        if self.left is not None and self.watcher is None:
            self.watcher = self.loop.create_task(self._until_left(self.left))

    async def _until_left(self, left: Callable[[], Awaitable[Any]]) -> None:
        await left()
        self._cancel(CallerLeft())

    def _cancel(self, reason: Exception) -> None:
        if self.reason is None:
            self.reason = reason
            self.task.cancel()

    def stop(self) -> None:
        self.timer.cancel()
        if self.watcher is not None:
            self.watcher.cancel()


@coroutine
def _rest_of(work: Coroutine[Any, Any, T], waited_for: Any) -> Generator[Any, Any, T]:
    """Await *work* from its second step on: what `await` does, begun one step late (PEP 380, `yield from`)."""
    while True:
        try:
            sent = yield waited_for
        except BaseException as error:
            step, value = work.throw, error
        else:
            step, value = work.send, sent
        try:
            waited_for = step(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
