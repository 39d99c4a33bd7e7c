"""Operations answered from memory, on both databases, in two processes' worth of systems beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from kitchen_of_callers import make_app
from sqlalchemy import text

from toque import Principal
from toque.cache.figures import CacheFigures
from toque.contract.errors import NotFound
from toque.settings import Cache, Settings
from toque.testing import Harness, running

ANN = Principal(subject="ann", tenant="north")
BOB = Principal(subject="bob", tenant="south")
SETTINGS = Settings(cache=Cache(verify="all"))


@pytest.fixture
async def kitchens(database_url: str) -> AsyncIterator[tuple[Harness, Harness]]:
    """Two systems over one database, as two workers are."""
    async with AsyncExitStack() as ends:
        first = await ends.enter_async_context(running(make_app(), settings=SETTINGS, database_url=database_url))
        second = await ends.enter_async_context(running(make_app(), settings=SETTINGS, database_url=database_url))
        await first.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(first)
        yield first, second
        for kitchen in (first, second):
            cache = kitchen.serving.system.cache
            assert cache is not None
            assert [name for name, query in cache.queries.items() if query.figures.wrong] == []


@pytest.fixture
def kitchen(kitchens: tuple[Harness, Harness]) -> Harness:
    return kitchens[0]


async def _settle(kitchen: Harness) -> None:
    """Come back when what was committed is applied: a run that began before that keeps nothing."""
    cache = kitchen.serving.system.cache
    assert cache is not None
    assert await cache.runner.barrier()


def _figures(kitchen: Harness, name: str) -> CacheFigures:
    cache = kitchen.serving.system.cache
    assert cache is not None
    return cache.queries[f"kitchen.{name}"].figures


async def _names(kitchen: Harness, **options: Any) -> list[str]:
    return [dish.name for dish in await kitchen.call("kitchen.list_dishes", **options)]


async def test_a_query_runs_once_until_what_it_has_read_changes(kitchen: Harness) -> None:
    assert [await _names(kitchen) for _ in range(3)] == [["soup"]] * 3
    assert (_figures(kitchen, "list_dishes").runs, _figures(kitchen, "list_dishes").hits) == (1, 2)

    await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
    await _settle(kitchen)

    assert [await _names(kitchen) for _ in range(2)] == [["soup", "pie"]] * 2
    assert _figures(kitchen, "list_dishes").runs == 2


async def test_a_change_of_another_row_leaves_an_answer_in_memory(kitchen: Harness) -> None:
    await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
    await _settle(kitchen)
    assert (await kitchen.call("kitchen.get_dish", id=1)).price == 5

    await kitchen.call("kitchen.set_price", id=2, price=8)

    assert (await kitchen.call("kitchen.get_dish", id=1)).price == 5
    assert _figures(kitchen, "get_dish").runs == 1
    await kitchen.call("kitchen.set_price", id=1, price=6)
    assert (await kitchen.call("kitchen.get_dish", id=1)).price == 6


async def test_what_is_not_there_is_not_kept(kitchen: Harness) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            await kitchen.call("kitchen.get_dish", id=9)
    assert _figures(kitchen, "get_dish").runs == 2
    await kitchen.call("kitchen.add_dish", id=9, name="tea", price=2)
    assert (await kitchen.call("kitchen.get_dish", id=9)).name == "tea"


async def test_nobody_changes_what_the_next_one_is_given(kitchen: Harness) -> None:
    for _ in range(3):
        dishes = await kitchen.call("kitchen.list_dishes")
        dishes[0].name = "mud"
        dishes.clear()
    assert await _names(kitchen) == ["soup"]
    assert _figures(kitchen, "list_dishes").runs == 1


async def test_a_strict_query_sees_what_another_process_has_just_committed(kitchens: tuple[Harness, Harness]) -> None:
    first, second = kitchens
    for price in range(10, 30):
        await first.call("kitchen.set_price", id=1, price=price)
        assert (await second.call("kitchen.list_strictly"))[0].price == price


async def test_another_process_hears_of_a_commit(kitchens: tuple[Harness, Harness]) -> None:
    first, second = kitchens
    assert (await second.call("kitchen.get_dish", id=1)).price == 5
    await first.call("kitchen.set_price", id=1, price=99)
    async with asyncio.timeout(30):
        while (await second.call("kitchen.get_dish", id=1)).price != 99:
            await asyncio.sleep(0.005)


async def test_what_others_write_by_their_own_sql_is_seen(kitchens: tuple[Harness, Harness]) -> None:
    kitchen, _ = kitchens
    assert await _names(kitchen) == ["soup"]
    store = kitchen.serving.system.store
    assert store is not None
    from toque.store import open_store

    other = open_store(store.url)
    await other.start()
    try:
        await other.command(lambda db: db.execute(text("UPDATE dish SET name = 'stew'")))
        async with asyncio.timeout(30):
            while await _names(kitchen) != ["stew"]:
                await asyncio.sleep(0.005)
    finally:
        await other.stop()


async def test_a_tenant_is_given_nothing_of_another(kitchen: Harness) -> None:
    await kitchen.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
    await kitchen.call("kitchen.add_note", id=2, text="of bob", principal=BOB)
    await _settle(kitchen)
    for _ in range(3):
        for who, told in ((ANN, ["of ann"]), (BOB, ["of bob"])):
            assert [note.text for note in await kitchen.call("kitchen.list_notes", principal=who)] == told
    # The first run of all finds out that the answer is its tenant's, and is kept under no key.
    assert _figures(kitchen, "list_notes").runs == 3


async def test_who_calls_may_be_asked_on_one_branch_only(kitchen: Harness) -> None:
    await kitchen.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
    await kitchen.call("kitchen.add_note", id=2, text="of bob", principal=BOB)
    await _settle(kitchen)

    async def told(who: Principal) -> list[str]:
        return [note.text for note in (await kitchen.call("kitchen.list_both", principal=who)).notes]

    assert [await told(who) for who in (ANN, BOB, ANN)] == [[], [], []]
    assert _figures(kitchen, "list_both").runs == 1, "nobody was asked for, so all share one answer"
    await kitchen.call("kitchen.set_price", id=1, price=1)
    for _ in range(3):
        # All at once: who joins a run that asks for its caller is not given its answer.
        answers = await asyncio.gather(*(told(who) for who in (ANN, BOB, ANN, BOB)))
        assert answers == [["of ann"], ["of bob"], ["of ann"], ["of bob"]]
    await kitchen.call("kitchen.set_price", id=1, price=5)
    assert await asyncio.gather(*(told(who) for who in (ANN, BOB))) == [[], []]


async def test_many_who_ask_at_once_share_one_run(kitchen: Harness) -> None:
    answers = await asyncio.gather(*(_names(kitchen) for _ in range(50)))
    assert answers == [["soup"]] * 50
    assert _figures(kitchen, "list_dishes").runs == 1


async def test_a_caller_who_leaves_takes_nobody_with_him(kitchen: Harness) -> None:
    first = asyncio.create_task(_names(kitchen))
    others = [asyncio.create_task(_names(kitchen)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [["soup"]] * 5


async def test_who_is_given_its_caller_answers_each_for_himself(kitchen: Harness) -> None:
    for _ in range(2):
        assert await kitchen.call("kitchen.who", principal=ANN) == "ann: soup"
        assert await kitchen.call("kitchen.who", principal=BOB) == "bob: soup"
    assert _figures(kitchen, "who").runs == 2


async def test_a_session_is_not_looked_into_unless_its_author_vouches_for_it(kitchen: Harness) -> None:
    for name, runs in (("by_session", None), ("trusted", 1)):
        assert [await kitchen.call(f"kitchen.{name}") for _ in range(3)] == [1, 1, 1]
        figures = _figures(kitchen, name)
        assert figures.hits == (0 if runs is None else 2)
    await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
    assert [await kitchen.call(f"kitchen.{name}") for name in ("by_session", "trusted")] == [2, 2]
    cache = kitchen.serving.system.cache
    assert cache is not None
    assert "session" in cache.queries["kitchen.by_session"].why_not


async def test_an_answer_in_spite_of_a_failure_is_not_kept(kitchen: Harness) -> None:
    """The next run may have more luck, though no row changes."""
    for _ in range(3):
        answer = await kitchen.get("/guess")
        assert (answer.json(), answer.headers["cache-status"]) == (-1, "toque; fwd=miss")
