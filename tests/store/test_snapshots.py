"""A query reads one state of the database, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest
from kitchen_models import Account, Tag
from sqlalchemy import func, insert, select, text, update

from toque.call.context import Context
from toque.contract.errors import NotFound
from toque.store import Database, Store
from toque.store.database import transaction_of
from toque.testing.postgres import PrivatePostgres

TOTAL = select(func.sum(Account.balance))


async def open_accounts(store: Store) -> None:
    rows = [{"id": i, "balance": 100} for i in range(10)]
    await store.command(lambda db: db.execute(insert(Account), rows))


async def move(store: Store, source: int, target: int) -> None:
    async def transfer(db: Any) -> None:
        # In one order, so that two transfers never wait for each other.
        for account, change in sorted(((source, -1), (target, 1))):
            await db.execute(update(Account).where(Account.id == account).values(balance=Account.balance + change))
            await asyncio.sleep(0)

    await store.command(transfer)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", ["answered", "raised"])
async def test_a_session_that_is_ended_after_the_last_statement_takes_nothing_along(
    kitchen: Store, postgres: PrivatePostgres, how: str
) -> None:
    async def read(db: Database) -> int:
        transaction_of(db).announce_more()
        count: int = await db.scalar(select(func.count()).select_from(Tag))
        pid = await db.scalar(text("SELECT pg_backend_pid()"))
        # The loop stands still meanwhile, so nobody hears of the end before the connection is used again.
        postgres.sql(f"SELECT pg_terminate_backend({pid}, 10000)")
        if how == "raised":
            raise NotFound("There is none.")
        return count

    if how == "raised":
        with pytest.raises(NotFound):
            await kitchen.query(read)
    else:
        assert await kitchen.query(read) == 2


async def test_a_second_statement_reads_the_state_of_the_first(kitchen: Store) -> None:
    async def read_around_a_write(db: Any) -> tuple[int, int]:
        before = await db.scalar(select(func.count()).select_from(Tag))
        await kitchen.command(lambda db: db.execute(insert(Tag).values(word=f"during {before}")))
        return before, await db.scalar(select(func.count()).select_from(Tag))

    before, after = await kitchen.query(read_around_a_write)

    assert before == after


async def test_a_query_restarts_once_and_its_operation_never_again(kitchen: Store) -> None:
    runs = 0

    async def two_statements(db: Any) -> None:
        nonlocal runs
        runs += 1
        await db.all(str, select(Tag.word))
        await db.all(str, select(Tag.word))

    await kitchen.query(two_statements, Context("list_tags", inf))
    assert runs == 2
    await kitchen.query(two_statements, Context("list_tags", inf))
    assert runs == 3


async def test_a_query_of_one_statement_is_run_once(kitchen: Store) -> None:
    runs = 0

    async def one_statement(db: Any) -> None:
        nonlocal runs
        runs += 1
        await db.all(str, select(Tag.word))

    await kitchen.query(one_statement)
    assert runs == 1


async def test_a_restart_survives_an_operation_that_catches_everything(kitchen: Store) -> None:
    async def careless(db: Any) -> int:
        count = 0
        for _ in range(3):
            try:
                count += len(await db.all(str, select(Tag.word)))
            except BaseException:
                pass
        return count

    assert await kitchen.query(careless) == 6


async def test_statements_gathered_in_one_call_read_one_snapshot(kitchen: Store) -> None:
    async def gathered(db: Any) -> list[int]:
        return await asyncio.gather(*(db.scalar(select(func.count()).select_from(Tag)) for _ in range(5)))

    assert await kitchen.query(gathered) == [2] * 5
    assert await kitchen.command(gathered) == [2] * 5


async def test_no_query_ever_sees_half_a_transfer(store: Store) -> None:
    await open_accounts(store)
    totals: set[int] = set()

    async def each_account(db: Any) -> int:
        return sum([await db.scalar(select(Account.balance).where(Account.id == i)) for i in range(10)])

    async def read() -> None:
        for _ in range(10):
            totals.add(await store.query(lambda db: db.scalar(TOTAL)))
            totals.add(await store.query(each_account, Context("each_account", inf)))

    writers = [move(store, i % 10, (i + 3) % 10) for i in range(60)]
    results = await asyncio.gather(read(), read(), *writers, return_exceptions=True)

    assert [result for result in results if result is not None] == []
    assert totals == {1000}


async def test_a_read_error_does_not_end_the_snapshot_for_others(kitchen: Store) -> None:
    async def fail(db: Any) -> None:
        await db.all(str, select(Tag.word))
        await db.all(str, select(Tag.word))
        raise LookupError

    for _ in range(30):
        with pytest.raises(LookupError):
            await kitchen.query(fail)
    assert len(await kitchen.query(lambda db: db.all(str, select(Tag.word)))) == 2
