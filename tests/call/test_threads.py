"""Plain functions beside the loop: so many threads, so many that wait, and each counts until it has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from toque.call.threads import Threads
from toque.contract.errors import Overloaded

GIVE_UP_S = 10
STORY: ContextVar[str] = ContextVar("story", default="nobody's")


class Job:
    """Blocks its thread until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self._go_on = threading.Event()

    def __call__(self) -> str:
        self.begun += 1
        assert self._go_on.wait(GIVE_UP_S)
        self.ended += 1
        return "done"

    def let_go(self) -> None:
        self._go_on.set()


@pytest.fixture
async def job() -> AsyncIterator[Job]:
    job = Job()
    yield job
    job.let_go()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_function_runs_beside_the_loop_with_its_call_s_context() -> None:
    threads = Threads(1, 0)
    STORY.set("ours")

    def look() -> tuple[str, bool]:
        return STORY.get(), threading.current_thread() is threading.main_thread()

    assert await threads.run(look) == ("ours", False)
    threads.close()


async def test_what_a_function_raises_reaches_its_caller() -> None:
    threads = Threads(1, 0)

    def fail(word: str) -> None:
        raise LookupError(word)

    with pytest.raises(LookupError, match="leek"):
        await threads.run(fail, "leek")
    threads.close()


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt])
async def test_what_no_future_or_loop_survives_reaches_the_caller_as_a_plain_error(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    threads = Threads(1, 0)
    async with asyncio.timeout(GIVE_UP_S):
        for run in (threads.run, threads.run_to_its_end):
            with pytest.raises(RuntimeError, match=error.__name__) as raised:
                await threads.outlasted(run(fail))
            assert isinstance(raised.value.__cause__, error)
    threads.close()


async def test_no_thread_is_made_before_there_is_work() -> None:
    before = threading.active_count()

    Threads(4, 0).close()

    assert threading.active_count() == before


async def test_what_can_neither_run_nor_wait_is_refused_at_once(job: Job) -> None:
    threads = Threads(2, 1)
    running = [asyncio.create_task(threads.run(job)) for _ in range(3)]
    await until(lambda: job.begun == 2)

    with pytest.raises(Overloaded) as caught:
        await threads.run(job)

    assert caught.value.retry_after_s == 1
    job.let_go()
    assert await asyncio.gather(*running) == ["done"] * 3
    await until(lambda: threads._taken == 0)
    threads.close()


async def test_a_cancelled_caller_s_thread_counts_until_it_has_ended(job: Job) -> None:
    threads = Threads(1, 0)
    running = asyncio.create_task(threads.run(job))
    await until(lambda: job.begun == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(Overloaded):
        await threads.run(job)

    job.let_go()
    await until(lambda: job.ended == 1 and threads._taken == 0)
    assert await threads.run(lambda: "free again") == "free again"
    threads.close()


async def test_a_caller_who_leaves_while_waiting_gives_its_place_back(job: Job) -> None:
    threads = Threads(1, 1)
    running = asyncio.create_task(threads.run(job))
    await until(lambda: job.begun == 1)
    waiting = asyncio.create_task(threads.run(job))
    await until(lambda: threads.waiting.line.count == 1)

    waiting.cancel()
    await asyncio.wait([waiting])
    assert threads.waiting.line.count == 0

    job.let_go()
    assert await running == "done"
    await until(lambda: threads._taken == 0)
    assert job.begun == 1, "nobody waited for the second one any more"
    threads.close()


def test_a_function_that_outlives_its_loop_harms_nobody() -> None:
    go_on = threading.Event()
    threads = Threads(1, 0)
    seen: list[Any] = []

    async def leave_it() -> None:
        begun = threading.Event()

        def work() -> None:
            begun.set()
            go_on.wait(GIVE_UP_S)
            seen.append("ended")

        running = asyncio.create_task(threads.run(work))
        await until(begun.is_set)
        running.cancel()
        await asyncio.wait([running])
        threads.close()

    asyncio.run(leave_it())
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("toque"):
            thread.join(GIVE_UP_S)

    assert seen == ["ended"]
