"""The observe policy: figures that add up whatever ends a call."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.call.admission import Gate
from toque.call.context import CURRENT, Context
from toque.call.observation import BOUNDS_S, CallerLeft, Figures
from toque.contract.errors import Conflict, Error, NotFound


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SoldOut(Error, code="sold_out_in_a_test", http=409):
    pass


def observed(call: Any, seen: Figures, *report: Any, report_above_s: float = inf) -> Any:
    """*call* as every plan wraps it."""
    return Gate(100).stage(call, seen, *report, report_above_s=report_above_s)


def context() -> Context:
    return Context("menu.list", monotonic() + 10)


def figures() -> Figures:
    return Figures("menu.list", "query")


async def answer(_context: Context, arguments: Any) -> Any:
    return arguments


def failing(error: BaseException) -> Any:
    async def fail(_context: Context, _arguments: Any) -> Any:
        raise error

    return fail


async def test_a_call_that_ends_well_is_counted_with_its_time() -> None:
    seen = figures()

    assert await observed(answer, seen)(context(), (1, 2)) == (1, 2)

    assert seen.codes == {"ok": 1}
    assert (seen.calls, seen.in_flight) == (1, 0)
    assert seen.seconds > 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), "not_found"),
        (Conflict("taken"), "conflict"),
        (SoldOut(), "sold_out_in_a_test"),
        (CallerLeft(), "cancelled"),
        (ZeroDivisionError(), "internal"),
    ],
)
async def test_a_call_that_fails_is_counted_under_its_code_and_fails_on(error: BaseException, code: str) -> None:
    seen = figures()

    with pytest.raises(type(error)) as caught:
        await observed(failing(error), seen)(context(), ())

    assert caught.value is error
    assert {name: count for name, count in seen.codes.items() if count} == {code: 1}
    assert (seen.calls, seen.in_flight) == (1, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
async def test_what_would_end_the_process_or_its_task_ends_the_call_alone(error: BaseException) -> None:
    seen = figures()

    with pytest.raises(RuntimeError, match="ends this call") as caught:
        await observed(failing(error), seen)(context(), ())

    assert caught.value.__cause__ is error
    assert {name: count for name, count in seen.codes.items() if count} == {"internal": 1}


async def test_calls_under_way_are_counted_while_they_are() -> None:
    seen = figures()
    go = asyncio.Event()

    async def wait(_context: Context, _arguments: Any) -> None:
        await go.wait()

    calls = [asyncio.ensure_future(observed(wait, seen)(context(), ())) for _ in range(3)]
    await asyncio.sleep(0)
    assert (seen.in_flight, seen.calls) == (3, 0)
    calls[0].cancel()
    go.set()
    await asyncio.gather(*calls, return_exceptions=True)

    assert (seen.in_flight, seen.codes) == (0, {"ok": 2, "cancelled": 1})


def test_a_call_that_is_dropped_unfinished_is_no_longer_under_way() -> None:
    seen = figures()

    async def wait(_context: Context, _arguments: Any) -> None:
        await asyncio.Event().wait()

    call = observed(wait, seen)(context(), ())
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: call.send(None))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    call.close()

    assert (seen.in_flight, seen.codes) == (0, {"ok": 0, "cancelled": 1})


@given(st.lists(st.floats(0, 100)))
def test_every_call_falls_into_the_first_bucket_that_holds_it(durations: list[float]) -> None:
    seen = figures()

    for seconds in durations:
        seen.record("ok", seconds)

    for place, bound in enumerate(BOUNDS_S):
        assert sum(seen.buckets[: place + 1]) == sum(seconds <= bound for seconds in durations)
    assert seen.calls == len(durations) == seen.codes["ok"]


async def test_the_call_is_the_current_one_while_it_runs() -> None:
    outer, inner = context(), context()
    around: list[Context | None] = []

    async def look(_context: Context, _arguments: Any) -> None:
        around.append(CURRENT.get())

    async def nest(_context: Context, arguments: Any) -> None:
        await observed(look, figures())(inner, ())
        around.append(CURRENT.get())

    # A call runs in a task of its own, and what it sets there ends with it.
    await asyncio.create_task(observed(nest, figures())(outer, ()))

    assert around == [inner, outer]
    assert CURRENT.get() is None


async def test_whoever_asked_is_told_of_what_failed_or_was_slow_and_of_nothing_else() -> None:
    told: list[str] = []

    def tell(_context: Context, code: str, _seconds: float, _error: BaseException | None) -> None:
        told.append(code)

    await observed(answer, figures(), tell, report_above_s=60)(context(), ())
    assert told == []
    await observed(answer, figures(), tell, report_above_s=0)(context(), ())
    with pytest.raises(NotFound):
        await observed(failing(NotFound()), figures(), tell)(context(), ())

    assert told == ["ok", "not_found"]
