"""Plain `def` operations: a bounded number of threads, and a bounded number of calls that wait for one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from asyncio import CancelledError, Task
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from toque.contract.errors import Overloaded

__all__ = ["Threads"]

log = logging.getLogger("toque.threads")


class Threads:
    """Runs blocking functions beside the event loop.

    A thread cannot be stopped: when its caller's deadline passes the caller is answered, and the thread counts as
    busy until its function has ended. So the number that may wait is bounded too, and the rest is refused at once.
    """

    def __init__(self, threads_max: int, waiting_max: int) -> None:
        self._taken_max = threads_max + waiting_max
        self._taken = 0
        self._threads_max = threads_max
        self._pool: ThreadPoolExecutor | None = None
        self._outlasting: set[Task[Any]] = set()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of *function*, run in a thread with this call's context variables.

        Raises: Overloaded when every thread is busy and as many calls as allowed wait already.
        """
        return await asyncio.wrap_future(self._submit(function, arguments))

    async def run_to_its_end(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """As `run`; but whoever is cancelled meanwhile goes on only when *function* has ended, or will not begin."""
        work = self._submit(function, arguments)
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

    def _submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        if self._taken >= self._taken_max:
            raise Overloaded("every thread is busy", retry_after_s=1)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="toque")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        self._taken += 1
        work = self._pool.submit(context.run, function, *arguments)
        work.add_done_callback(lambda _: _from_thread(loop, self._give_back))
        return work

    def _let_go(self, task: Task[Any]) -> None:
        self._outlasting.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("a call that was stopped could not end what it had begun", exc_info=failure)

    def _give_back(self) -> None:
        self._taken -= 1


def _from_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError:
        pass  # The loop has closed: nobody counts any more.
