"""Admission: so many calls at once, none beyond its deadline, none for a caller who has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from toque.call.admission import Gate
from toque.call.context import Context
from toque.call.observation import CallerLeft, Figures
from toque.call.plan import Handler
from toque.contract.errors import DeadlineExceeded, Overloaded
from toque.contract.operation import Priority

GIVE_UP_S = 5


class Work:
    """A call that waits until it is told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = 0
        self.go_on = asyncio.Event()

    async def __call__(self, _context: Context, arguments: Any) -> Any:
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return arguments


class Ticks:
    """Counts the looks of a gate's clock."""

    def __init__(self, gate: Gate) -> None:
        self.count = 0
        gate.on_tick = self._count

    def _count(self) -> None:
        self.count += 1

    async def next(self, count: int = 1) -> None:
        wanted = self.count + count
        await until(lambda: self.count >= wanted)


@pytest.fixture
async def work() -> Work:
    return Work()


def context(seconds: float = 60.0, left: Callable[[], Any] | None = None) -> Context:
    return Context("menu.list", monotonic() + seconds, left=left)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_admitted_call_answers_as_if_nobody_had_looked(work: Work) -> None:
    work.go_on.set()

    assert await Gate(1).stage(work, Figures("menu.list", "query"))(context(), (1, 2)) == (1, 2)


async def test_calls_beyond_the_limit_are_refused_at_once_and_told_when_to_come_back(work: Work) -> None:
    gate = Gate(2)
    call = gate.stage(work, Figures("menu.list", "query"))
    running = [asyncio.create_task(call(context(), ())) for _ in range(2)]
    await until(lambda: work.begun == 2)

    with pytest.raises(Overloaded) as caught:
        await call(context(), ())

    assert caught.value.retry_after_s == 1
    assert gate.is_full
    assert work.begun == 2
    work.go_on.set()
    await asyncio.gather(*running)
    assert gate.is_idle
    assert await call(context(), "again") == "again"


async def test_the_limit_is_shared_by_all_operations(work: Work) -> None:
    gate = Gate(1)
    running = asyncio.create_task(gate.stage(work, Figures("menu.list", "query"))(context(), ()))
    await until(lambda: work.begun == 1)

    with pytest.raises(Overloaded):
        await gate.stage(Work(), Figures("menu.list", "query"))(context(), ())

    work.go_on.set()
    await running


async def test_a_call_is_stopped_at_its_deadline(work: Work) -> None:
    gate = Gate(1)

    with pytest.raises(DeadlineExceeded):
        await gate.stage(work, Figures("menu.list", "query"))(context(0.01), ())

    assert work.stopped == 1
    assert gate.is_idle
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "whoever called goes on unharmed"


async def test_a_call_whose_deadline_has_passed_is_stopped_too(work: Work) -> None:
    with pytest.raises(DeadlineExceeded):
        await Gate(1).stage(work, Figures("menu.list", "query"))(context(-1), ())


async def test_a_deadline_reaches_what_the_call_started(work: Work) -> None:
    async def spread(_context: Context, _arguments: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(work(_context, ()))

    with pytest.raises(DeadlineExceeded):
        await Gate(1).stage(spread, Figures("menu.list", "query"))(context(0.01), ())

    assert (work.begun, work.stopped) == (3, 3)


async def test_a_timeout_of_the_function_s_own_stays_its_own() -> None:
    async def impatient(_context: Context, _arguments: Any) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "gave up"
        return "never"

    assert await Gate(1).stage(impatient, Figures("menu.list", "query"))(context(), ()) == "gave up"


async def test_a_call_ends_when_its_caller_has_left(work: Work) -> None:
    gone = asyncio.Event()
    running = asyncio.create_task(Gate(1).stage(work, Figures("menu.list", "query"))(context(left=gone.wait), ()))
    await until(lambda: work.begun == 1)
    gone.set()

    with pytest.raises(CallerLeft):
        await running

    assert work.stopped == 1


async def test_short_calls_do_not_watch_their_caller(work: Work) -> None:
    watched = 0

    async def left() -> None:
        nonlocal watched
        watched += 1

    gate = Gate(1)
    ticks = Ticks(gate)
    work.go_on.set()
    for _ in range(10):
        await gate.stage(work, Figures("menu.list", "query"))(context(left=left), ())
        await ticks.next()

    assert watched == 0


async def test_a_caller_is_watched_once(work: Work) -> None:
    watched = 0
    gone = asyncio.Event()

    async def left() -> None:
        nonlocal watched
        watched += 1
        await gone.wait()

    gate = Gate(1)
    ticks = Ticks(gate)
    running = asyncio.create_task(gate.stage(work, Figures("menu.list", "query"))(context(left=left), ()))
    await ticks.next(10)
    assert watched == 1

    work.go_on.set()
    await running


async def test_nobody_watches_a_caller_whose_call_has_ended(work: Work) -> None:
    is_watching = False

    async def left() -> None:
        nonlocal is_watching
        is_watching = True
        try:
            await asyncio.Event().wait()
        finally:
            is_watching = False

    gate = Gate(1)
    running = asyncio.create_task(gate.stage(work, Figures("menu.list", "query"))(context(left=left), ()))
    await until(lambda: is_watching)
    work.go_on.set()
    await running

    await until(lambda: not is_watching)


# Two who stop one call: the gate, and somebody outside.


async def test_a_task_that_was_cancelled_from_outside_stays_cancelled(work: Work) -> None:
    running = asyncio.create_task(Gate(1).stage(work, Figures("menu.list", "query"))(context(), ()))
    await until(lambda: work.begun == 1)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert running.cancelled()


async def test_whoever_cancels_after_the_deadline_is_obeyed_too() -> None:
    """The deadline stops the function, which cleans up slowly; then the server stops the task as well."""
    is_cleaning = asyncio.Event()

    async def slow_to_end(_context: Context, _arguments: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cleaning.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(Gate(1).stage(slow_to_end, Figures("menu.list", "query"))(context(0.01), ()))
    await is_cleaning.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_call_is_stopped_once_however_long_it_takes_to_end() -> None:
    gate = Gate(1)
    ticks = Ticks(gate)
    stops = 0

    async def slow_to_end(_context: Context, _arguments: Any) -> None:
        nonlocal stops
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stops += 1
            try:
                await ticks.next(5)
            except asyncio.CancelledError:
                stops += 1
                raise
            raise

    with pytest.raises(DeadlineExceeded):
        await gate.stage(slow_to_end, Figures("menu.list", "query"))(context(0.01), ())

    assert stops == 1


async def test_after_a_deadline_the_same_task_can_make_another_call(work: Work) -> None:
    """A JSON-RPC batch makes several calls in one task."""
    call = Gate(1).stage(work, Figures("menu.list", "query"))
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await call(context(0.01), ())
    work.go_on.set()

    assert await call(context(), "well") == "well"


async def _swallowing(_context: Context, _arguments: Any) -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "as if nothing had happened"
    return "never"


async def _failing_at_the_end(_context: Context, _arguments: Any) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("the clean-up failed")


@pytest.mark.parametrize("stubborn", [_swallowing, _failing_at_the_end])
async def test_a_function_that_hides_its_stop_does_not_leave_its_task_marked(stubborn: Handler) -> None:
    """Or a batch's next call would believe that somebody outside had cancelled it."""
    task = asyncio.current_task()
    assert task is not None

    try:
        await Gate(1).stage(stubborn, Figures("menu.list", "query"))(context(0.01), ())
    except (ValueError, DeadlineExceeded):
        pass

    assert task.cancelling() == 0


# The clock.


async def test_the_clock_ticks_only_while_there_are_calls(work: Work) -> None:
    gate = Gate(1)
    ticks = Ticks(gate)
    running = asyncio.create_task(gate.stage(work, Figures("menu.list", "query"))(context(), ()))
    await ticks.next(3)
    work.go_on.set()
    await running
    await ticks.next()

    at_rest = ticks.count
    await asyncio.sleep(0.2)

    assert ticks.count == at_rest
    await gate.stage(work, Figures("menu.list", "query"))(context(), ())
    await ticks.next()
    assert ticks.count > at_rest


async def test_one_clock_serves_all_calls(work: Work) -> None:
    gate = Gate(100)
    ticks = Ticks(gate)
    scheduled = 0
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def counted(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
        nonlocal scheduled
        scheduled += 1
        return call_later(*arguments, **options)

    loop.call_later = counted  # type: ignore[method-assign]
    running = [asyncio.create_task(gate.stage(work, Figures("menu.list", "query"))(context(), ())) for _ in range(100)]
    await ticks.next(3)
    loop.call_later = call_later  # type: ignore[method-assign]
    ours = scheduled

    # `until` sleeps too, which is a timer a look; what counts is that a hundred calls add none.
    assert ours < 100
    work.go_on.set()
    await asyncio.gather(*running)


async def test_an_errand_that_fails_does_not_stop_the_clock(work: Work) -> None:
    """Metrics are written on a tick: a full disk must not cost anybody a deadline."""
    gate = Gate(1)

    def fail() -> None:
        raise OSError("no space left on device")

    gate.on_tick = fail
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _what: None)

    with pytest.raises(DeadlineExceeded):
        async with asyncio.timeout(GIVE_UP_S):
            await gate.stage(work, Figures("menu.list", "query"))(context(0.01), ())


async def test_there_is_more_room_for_what_matters_and_less_for_what_does_not() -> None:
    gate, works = Gate(4), {priority: Work() for priority in Priority}
    running = []
    for priority in reversed(Priority):
        call = gate.stage(works[priority], Figures(priority.name, "query"), priority=priority)
        running += [asyncio.create_task(call(context(), ())) for _ in range(6)]
        await until(lambda priority=priority: works[priority].begun > 0)  # type: ignore[misc]

    assert [works[priority].begun for priority in reversed(Priority)] == [3, 1, 1]
    for work in works.values():
        work.go_on.set()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [isinstance(outcome, Overloaded) for outcome in outcomes].count(False) == 5
    assert gate.is_idle


@pytest.mark.parametrize(("wanted", "given"), [(Priority.CRITICAL, Priority.NORMAL), (Priority.SHEDDABLE,) * 2])
async def test_a_caller_may_ask_for_less_and_never_for_more(wanted: Priority, given: Priority) -> None:
    call = context()
    call.priority = wanted

    await Gate(1).stage(_nothing, Figures("menu.list", "query"))(call, ())

    assert call.priority is given


async def test_a_call_within_a_call_is_as_important_as_the_one_that_waits_for_it() -> None:
    gate, inner = Gate(2), context()
    within = gate.stage(_nothing, Figures("menu.inner", "query"), priority=Priority.SHEDDABLE)

    async def outer(_context: Context, _arguments: Any) -> None:
        await within(inner, ())

    await gate.stage(outer, Figures("menu.outer", "query"), priority=Priority.NORMAL)(context(), ())
    assert inner.priority is Priority.NORMAL

    after = context()
    await within(after, ())
    assert after.priority is Priority.SHEDDABLE, "the call before it in this task has ended"


async def _nothing(_context: Context, _arguments: Any) -> None:
    pass
