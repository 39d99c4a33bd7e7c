"""A connection that is lost around its COMMIT: what became of it is read back from PostgreSQL, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import repeat
from random import Random
from typing import Any

import pytest
from kitchen_models import Account
from sqlalchemy import func, insert, select, text

from toque.call.context import Context
from toque.contract.errors import OutcomeUnknown, Unavailable
from toque.store import Store, open_store
from toque.store.postgres import PostgresStore
from toque.testing.faults import Cut, PostgresProxy, proxy_before

CUTS: Sequence[Cut] = ("none", "before", "unanswered", "answered")


@pytest.fixture
async def proxy(kitchen: Store) -> AsyncIterator[PostgresProxy]:
    if not isinstance(kitchen, PostgresStore):
        pytest.skip("SQLite has no connection to lose")
    async with proxy_before(kitchen.url) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: PostgresProxy) -> AsyncIterator[Store]:
    """A store that reaches the database through the proxy."""
    store = open_store(proxy.url)
    await store.start()
    yield store
    await store.stop()


def add(balance: int) -> Any:
    """Nothing keeps the same balance from being there twice: what was done twice shows."""
    return lambda db: db.execute(insert(Account).values(balance=balance))


async def count(store: Store, balance: int) -> int:
    return await store.query(lambda db: db.scalar(select(func.count()).where(Account.balance == balance)))


def within(seconds: float) -> Context:
    return Context.within("add", seconds)


@pytest.mark.parametrize("cut", CUTS)
async def test_a_command_is_done_once_wherever_it_was_cut(
    kitchen: Store, behind: Store, proxy: PostgresProxy, cut: Cut
) -> None:
    proxy.cuts = iter([cut])
    done: list[int] = []

    async def add_and_tell(db: Any) -> str:
        db.after_commit(lambda: done.append(7))
        await add(7)(db)
        return "done"

    assert await behind.command(add_and_tell, within(10)) == "done"
    assert await count(kitchen, 7) == 1
    assert done == [7]
    assert proxy.cut == (cut != "none")
    assert behind.repeats == ({"connection lost": 1} if cut == "before" else {})


async def test_what_cannot_be_repeated_hears_that_it_was_not_done(
    kitchen: Store, behind: Store, proxy: PostgresProxy
) -> None:
    proxy.cuts = iter(["before"])

    with pytest.raises(Unavailable) as caught:
        await behind.command(add(7), within(10), is_repeatable=False)

    assert caught.value.code == "unavailable"
    assert await count(kitchen, 7) == 0


@pytest.mark.parametrize(("cut", "rows"), [("before", 0), ("answered", 1)])
async def test_where_nobody_can_be_asked_the_error_says_so(
    kitchen: Store, behind: Store, proxy: PostgresProxy, cut: Cut, rows: int
) -> None:
    proxy.cuts = iter([cut])

    async def add_and_go_dark(db: Any) -> None:
        await add(7)(db)
        proxy.is_dark = True

    with pytest.raises(OutcomeUnknown) as caught:
        await behind.command(add_and_go_dark, within(0.5))

    assert caught.value.code == "outcome_unknown"
    assert await count(kitchen, 7) == rows


async def test_a_server_that_comes_back_in_time_is_asked(kitchen: Store, behind: Store, proxy: PostgresProxy) -> None:
    proxy.cuts = iter(["answered"])

    async def add_and_go_dark(db: Any) -> None:
        await add(7)(db)
        proxy.is_dark = True

    adding = asyncio.ensure_future(behind.command(add_and_go_dark, within(10)))
    while not proxy.cut:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    proxy.is_dark = False
    await adding

    assert await count(kitchen, 7) == 1


async def test_a_command_that_only_read_has_nothing_to_lose(behind: Store, proxy: PostgresProxy) -> None:
    proxy.cuts = iter(["before"])

    assert await behind.command(lambda db: db.scalar(select(func.count()).select_from(Account)), within(10)) == 0
    assert proxy.cut == 1
    assert behind.repeats == {}


@pytest.mark.parametrize("begins_with_a_read", [False, True])
async def test_a_transaction_knows_its_number(behind: Store, begins_with_a_read: bool) -> None:
    async def look(db: Any) -> tuple[Any, Any]:
        if begins_with_a_read:
            await db.scalar(select(func.count()).select_from(Account))
        await add(1)(db)
        transaction = db._transaction
        ours = transaction._number or await transaction._connection.number()
        return ours, await db.scalar(text("SELECT pg_current_xact_id()::text"))

    ours, theirs = await behind.command(look)

    assert str(ours) == theirs


async def test_the_number_does_not_outlive_its_transaction(behind: Store) -> None:
    await behind.command(add(1))

    assert await behind.query(lambda db: db.scalar(text("SHOW application_name"))) == "toque"


@pytest.mark.parametrize("seed", range(20))
async def test_what_was_answered_is_what_is_there(
    kitchen: Store, behind: Store, proxy: PostgresProxy, seed: int
) -> None:
    await check_answers(kitchen, behind, proxy, Random(seed), commands=25)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 200))
async def test_what_was_answered_is_what_is_there_for_long(
    kitchen: Store, behind: Store, proxy: PostgresProxy, seed: int
) -> None:
    await check_answers(kitchen, behind, proxy, Random(seed), commands=200)


async def check_answers(kitchen: Store, behind: Store, proxy: PostgresProxy, random: Random, commands: int) -> None:
    """Run commands of which every second or so is cut, and compare what each was told with the table."""
    proxy.cuts = (random.choice(CUTS) for _ in repeat(None))
    answers: dict[int, str] = {}

    async def call(number: int) -> None:
        try:
            await behind.command(add(number), within(10), is_repeatable=random.random() < 0.7)
            answers[number] = "done"
        except Unavailable as error:
            answers[number] = error.code

    for start in range(0, commands, 5):
        await asyncio.gather(*(call(number) for number in range(start, start + 5)))
    rows = await kitchen.query(lambda db: db.all(int, select(Account.balance)))

    allowed = {"done": {1}, "unavailable": {0}, "outcome_unknown": {0, 1}}
    wrong = {n: (answer, rows.count(n)) for n, answer in answers.items() if rows.count(n) not in allowed[answer]}
    assert wrong == {}
    assert proxy.cut > commands / 4
    assert list(answers.values()).count("done") > commands / 2
