"""Work that nobody waits for stops in the database, and what it held is free again."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest
from kitchen_models import Account, Tag
from sqlalchemy import func, insert, select, text, update

from toque.call.context import Context
from toque.store import Store
from toque.store.postgres import PostgresStore
from toque.store.postgres_connection import connect

ENDLESS = {
    "sqlite": "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r",
    "postgresql": "SELECT pg_sleep(600)",
}
ENDLESS_WRITE = {
    "sqlite": "UPDATE account SET balance = "
    "(WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r)",
    "postgresql": "UPDATE account SET balance = (SELECT 1 FROM pg_sleep(600))",
}


def endless(store: Store) -> Any:
    return text(ENDLESS[store.dialect_name])


async def cancelled(work: Any, after_s: float = 0.05) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_query_frees_its_connection(kitchen: Store) -> None:
    # More than there are connections: if one stayed taken for good, the last read would wait for ever.
    for _ in range(15):
        await cancelled(kitchen.query(lambda db: db.scalar(endless(kitchen))), 0.02)

    async with asyncio.timeout(5):
        assert len(await kitchen.query(lambda db: db.all(str, select(Tag.word)))) == 2


async def test_a_cancelled_query_of_several_statements_frees_its_connection(kitchen: Store) -> None:
    async def read(db: Any) -> None:
        await db.all(str, select(Tag.word))
        await db.scalar(endless(kitchen))

    for _ in range(15):
        await cancelled(kitchen.query(read, Context("read", inf)), 0.02)

    async with asyncio.timeout(5):
        await kitchen.query(lambda db: db.all(str, select(Tag.word)))


async def test_a_cancelled_command_is_rolled_back_and_the_next_one_runs(kitchen: Store) -> None:
    await kitchen.command(lambda db: db.execute(insert(Account).values(id=1, balance=1)))

    async def write(db: Any) -> None:
        await db.execute(insert(Tag).values(word="gone"))
        await db.execute(text(ENDLESS_WRITE[kitchen.dialect_name]))

    await cancelled(kitchen.command(write), 0.2)

    async with asyncio.timeout(5):
        await kitchen.command(lambda db: db.execute(insert(Tag).values(word="kept")))
    words = await kitchen.query(lambda db: db.all(str, select(Tag.word)))
    assert sorted(words) == ["hot", "kept", "vegan"]


async def test_others_in_the_batch_of_a_cancelled_command_are_kept(kitchen: Store) -> None:
    await kitchen.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))

    async def add(db: Any) -> None:
        await db.execute(update(Account).where(Account.id == 1).values(balance=Account.balance + 1))

    async def hang(db: Any) -> None:
        await db.scalar(select(func.count()).select_from(Tag))
        await db.execute(
            text(ENDLESS_WRITE[kitchen.dialect_name].replace("account", "dish").replace("balance", "price"))
        )

    hung = [asyncio.ensure_future(kitchen.command(hang)) for _ in range(2)]
    good = [asyncio.ensure_future(kitchen.command(add)) for _ in range(20)]
    await asyncio.sleep(0.2)
    for task in hung:
        task.cancel()
        await asyncio.sleep(0.2)

    async with asyncio.timeout(10):
        await asyncio.gather(*good)
    assert await kitchen.query(lambda db: db.scalar(select(Account.balance))) == 20


async def test_calls_that_wait_may_be_cancelled_too(kitchen: Store) -> None:
    blocker = asyncio.Event()

    async def hold(db: Any) -> None:
        await db.execute(insert(Tag).values(word="held"))
        await blocker.wait()

    holder = asyncio.ensure_future(kitchen.command(hold))
    await asyncio.sleep(0.05)
    waiting = [
        asyncio.ensure_future(kitchen.command(lambda db, i=i: db.execute(insert(Tag).values(word=f"w{i}"))))
        for i in range(5)
    ]
    await asyncio.sleep(0.05)
    for task in waiting[::2]:
        task.cancel()
    blocker.set()
    await asyncio.gather(holder, *waiting, return_exceptions=True)

    async with asyncio.timeout(5):
        await kitchen.command(lambda db: db.execute(insert(Tag).values(word="last")))
    words = await kitchen.query(lambda db: db.all(str, select(Tag.word)))
    assert {"held", "w1", "w3", "last"} <= {*words}


async def test_a_cancelled_statement_stops_on_the_server(kitchen: Store) -> None:
    if not isinstance(kitchen, PostgresStore):
        pytest.skip("SQLite has no server")
    await cancelled(kitchen.query(lambda db: db.scalar(endless(kitchen))), 0.1)

    sleeping = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(6%'")
    async with asyncio.timeout(1):
        while await kitchen.query(lambda db: db.scalar(sleeping)) > 1:
            await asyncio.sleep(0.01)
    assert kitchen.pool.in_use <= 1


async def test_the_server_stops_a_statement_whose_client_is_gone(kitchen: Store) -> None:
    """A cancellation may never arrive: the server looks by itself whether anybody waits."""
    if not isinstance(kitchen, PostgresStore):
        pytest.skip("SQLite has no server")
    connection = await connect(kitchen.url)
    await connection.mend()
    number = connection.get_server_pid()
    sleeping = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(600)"))
    is_there = select(func.count()).select_from(text("pg_stat_activity")).where(text(f"pid = {number}"))
    await asyncio.sleep(0.05)
    assert await kitchen.query(lambda db: db.scalar(is_there)) == 1

    connection.terminate()

    await asyncio.wait([sleeping])
    assert sleeping.exception() is not None
    async with asyncio.timeout(20):
        while await kitchen.query(lambda db: db.scalar(is_there)):
            await asyncio.sleep(0.05)
