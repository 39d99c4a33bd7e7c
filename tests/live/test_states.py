"""What followers are sent: every change in the end, nothing twice, nothing from before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from shop import ANA, BANNED, BO, JarView, runs, settle
from sqlalchemy import text

from toque import Error, Principal
from toque.testing import Harness

SHELF = "shop.shelf"


async def until(states: AsyncIterator[Any], wanted: Any) -> list[Any]:
    """The states up to the one that is *wanted*."""
    seen: list[Any] = []
    async for state in states:
        seen.append(state)
        if state == wanted:
            return seen
    raise AssertionError(seen)


async def test_the_answer_comes_at_once_and_again_when_it_changes(shop: Harness) -> None:
    async with shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == []

        jar = await shop.call("shop.fill", shelf=1, content="plums")
        assert await anext(states) == [JarView(jar.id, "plums")]

        await shop.call("shop.refill", id=jar.id, content="figs")
        assert await anext(states) == [JarView(jar.id, "figs")]


async def test_a_row_that_moves_out_is_seen_to_leave(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as here, shop.live(SHELF, shelf=2) as there:
        assert await anext(here) == [JarView(jar.id, "plums")]
        assert await anext(there) == []

        await shop.call("shop.move", id=jar.id, shelf=2)

        assert await anext(here) == []
        assert await anext(there) == [JarView(jar.id, "plums")]


async def test_an_equal_answer_is_not_sent(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as states:
        await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)

        await shop.call("shop.refill", id=jar.id, content="plums")
        await settle(shop)
        assert runs(shop, SHELF) == before + 1
        await shop.call("shop.refill", id=jar.id, content="figs")

        assert await anext(states) == [JarView(jar.id, "figs")]


async def test_of_a_burst_of_commits_the_last_is_seen_and_few_are_run(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="0")
    async with shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == [JarView(jar.id, "0")]
        before = runs(shop, SHELF)
        for _ in range(10):
            await asyncio.gather(*(shop.call("shop.count", id=jar.id) for _ in range(100)))

        seen = await until(states, [JarView(jar.id, "1000")])

        numbers = [int(state[0].content) for state in seen]
        assert numbers == sorted(set(numbers)), "never backwards, nothing twice"
        assert runs(shop, SHELF) - before <= 1000


async def test_ten_thousand_followers_of_one_answer_cost_one_query(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    live = shop.serving.system.live
    assert live is not None
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(shop.live(SHELF, shelf=1)) for _ in range(10_000)]
        for states in followers:
            await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)
        assert (live.subscriptions, live.topics) == (10_000, 1)

        await shop.call("shop.refill", id=jar.id, content="figs")
        for states in followers:
            assert await anext(states) == [JarView(jar.id, "figs")]

        assert runs(shop, SHELF) - before == 1
    assert (live.subscriptions, live.topics) == (0, 0)


async def test_of_ten_thousand_answers_only_the_changed_one_is_found_out(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=77, content="plums")
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(shop.live(SHELF, shelf=shelf)) for shelf in range(10_000)]
        for states in followers:
            await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)

        await shop.call("shop.refill", id=jar.id, content="figs")
        assert await anext(followers[77]) == [JarView(jar.id, "figs")]

        assert runs(shop, SHELF) - before == 1
