"""What goes on by itself: when the next turn is taken, and what does not end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from toque.call.turns import Turns
from toque.contract.errors import Unavailable

Turn = Callable[[], Awaitable[float | None]]


def turns_of(turn: Turn) -> Turns:
    return Turns(turn, logging.getLogger("toque"), "nothing is done", again_s=0.001, again_max_s=0.002)


async def run_until(ended: asyncio.Event, turns: Turns) -> None:
    turns.start()
    async with asyncio.timeout(5):
        await ended.wait()
    await turns.stop()


@pytest.mark.parametrize(("error", "times"), [(Unavailable("no database"), 1), (ZeroDivisionError(), 2)])
async def test_a_turn_that_fails_is_said_and_followed_by_another(error: Exception, times: int, caplog: Any) -> None:
    ended = asyncio.Event()
    failures = [error, error]

    async def turn() -> None:
        if failures:
            raise failures.pop()
        ended.set()

    turns = turns_of(turn)
    await run_until(ended, turns)

    assert caplog.text.count("nothing is done") == times


async def test_news_that_come_during_a_turn_have_another_follow() -> None:
    taken = 0
    ended = asyncio.Event()

    async def turn() -> None:
        nonlocal taken
        taken += 1
        if taken == 1:
            turns.wake()
        else:
            ended.set()

    turns = turns_of(turn)
    await run_until(ended, turns)

    assert taken == 2, "without more news, nothing more is done"


async def test_a_pause_ends_by_itself_and_a_stop_breaks_a_turn_off() -> None:
    taken = 0
    begun = asyncio.Event()

    async def turn() -> float:
        nonlocal taken
        taken += 1
        if taken == 2:
            begun.set()
            await asyncio.Event().wait()
        return 0.0

    turns = turns_of(turn)
    turns.start()
    async with asyncio.timeout(5):
        await begun.wait()
        await turns.stop()

    assert taken == 2
