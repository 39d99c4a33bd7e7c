"""Plain `def` operations: a bounded number of threads, and a line of calls that wait for one.

Threads and the database cannot wait for one another. A call that is in a thread cannot ask for a connection, because a
plain `def` with a Database is refused when the app starts (`checks.of_signature`), and one that has a connection runs
in the event loop, where it cannot ask for a thread. So nobody has one of the two and waits for the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from asyncio import CancelledError, Task
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from toque.call.context import CURRENT, UNCALLED
from toque.call.observation import for_the_call
from toque.call.waiting import Waiting

__all__ = ["Threads"]

log = logging.getLogger("toque.threads")


class Threads:
    """Runs blocking functions beside the event loop.

    A thread cannot be stopped: when its caller's deadline passes the caller is answered, and the thread counts as
    busy until its function has ended. So the number that may wait is bounded too, and the rest is refused at once.
    """

    def __init__(self, threads_max: int, waiting_max: int) -> None:
        self._threads_max = threads_max
        self._taken = 0
        self._pool: ThreadPoolExecutor | None = None
        self._outlasting: set[Task[Any]] = set()
        self.waiting: Waiting[None] = Waiting(
            "threads", threads_max, waiting_max, give_back=lambda _: self._give_back(), in_use=lambda: self._taken
        )

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of *function*, run in a thread with this call's context variables.

        Raises: Overloaded when every thread is busy and the line says so.
        """
        return await asyncio.wrap_future(await self._submit(function, arguments))

    async def run_to_its_end(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """As `run`; but whoever is cancelled meanwhile goes on only when *function* has ended, or will not begin."""
        work = await self._submit(function, arguments)
        result = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(result)
        except CancelledError:
            if not work.cancel():
                await asyncio.gather(result, return_exceptions=True)
            raise

    async def outlasted(self, call: Coroutine[Any, Any, Any]) -> Any:
        """The result of *call*, in a task of its own: who waits here may be cancelled and leave, and *call*, told of
        it, still ends what it has begun."""
        task = asyncio.create_task(call)
        try:
            await asyncio.wait([task])
        except CancelledError:
            task.cancel()
            self._outlasting.add(task)
            task.add_done_callback(self._let_go)
            raise
        return task.result()

    def close(self) -> None:
        """Let running functions end, start no more, wait for none."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        if self._taken < self._threads_max:
            self._taken += 1
        else:
            await self.waiting.turn(CURRENT.get() or UNCALLED)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="toque")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        work = self._pool.submit(context.run, _call, function, arguments)
        work.add_done_callback(lambda _: _from_thread(loop, self._give_back))
        return work

    def _let_go(self, task: Task[Any]) -> None:
        self._outlasting.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("a call that was stopped could not end what it had begun", exc_info=failure)

    def _give_back(self) -> None:
        if not self.waiting.hand_over(None):
            self._taken -= 1


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except (StopIteration, SystemExit, KeyboardInterrupt) as error:
        # No future takes the first (nor a coroutine, PEP 479), and a task that meets the others ends the loop.
        raise for_the_call(error) from error


def _from_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError:
        pass  # The loop has closed: nobody counts any more.
