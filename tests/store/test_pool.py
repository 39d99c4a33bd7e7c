"""The bounds of a store: how many at once, how many in line, and connections that die."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from kitchen_models import Tag
from sqlalchemy import select, text

from toque.call.context import Context
from toque.contract.errors import Overloaded, Unavailable
from toque.store import Database, Store, open_store
from toque.store.postgres import PostgresStore
from toque.store.postgres_connection import connect, connect_to_move
from toque.testing.postgres import PrivatePostgres


@pytest.fixture
async def small(kitchen: Store) -> Any:
    store = open_store(kitchen.url, slots=2, waiting_max=3)
    await store.start()
    yield store
    await store.stop()


async def test_waiting_is_bounded_and_the_rest_is_refused(small: Store) -> None:
    release = asyncio.Event()

    async def hold(db: Any) -> None:
        await db.all(str, select(Tag.word))
        await release.wait()

    calls = [asyncio.ensure_future(small.query(hold)) for _ in range(8)]
    await asyncio.sleep(0.2)
    release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results].count(Overloaded) == 3
    assert results.count(None) == 5


async def test_connections_are_reused(small: Store) -> None:
    if not isinstance(small, PostgresStore):
        pytest.skip("SQLite's readers are files")
    await asyncio.gather(*(small.query(lambda db: db.all(str, select(Tag.word))) for _ in range(5)))
    pids = {await small.query(lambda db: db.scalar(text("SELECT pg_backend_pid()"))) for _ in range(5)}

    assert len(pids) == 1
    assert small.pool.slots_used <= 2
    assert small.pool.in_use == 0


async def test_a_killed_connection_is_replaced(small: Store) -> None:
    if not isinstance(small, PostgresStore):
        pytest.skip("SQLite has no connections to kill")

    async def kill_myself(db: Any) -> None:
        await db.scalar(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    for _ in range(4):
        with pytest.raises(Unavailable):
            await small.query(kill_myself)
        with pytest.raises(Unavailable):
            await small.command(kill_myself)

    assert len(await small.query(lambda db: db.all(str, select(Tag.word)))) == 2


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = open_store("postgresql://nobody@127.0.0.1:1/nothing")

    with pytest.raises(Unavailable):
        await store.start()


async def test_a_server_that_comes_back_is_used_again(postgres: PrivatePostgres) -> None:
    server = PrivatePostgres()
    await asyncio.to_thread(server.start)
    store = open_store(server.url())
    await store.start()
    try:
        server.kill()
        with pytest.raises(Unavailable):
            await store.ping()
        await asyncio.to_thread(server.start)
        await store.ping()
        await store.stop()
    finally:
        server.stop()


async def test_a_changed_table_does_not_break_prepared_statements(small: Store) -> None:
    async def twice(db: Any) -> int:
        return len(await db.all(str, select(Tag.word))) + len(await db.all(str, select(Tag.word)))

    await small.query(twice, Context("twice", inf))
    if small.dialect_name == "postgresql":
        await small.command(lambda db: db.execute(text("ALTER TABLE tag ALTER word TYPE varchar(80)")))
    await small.command(lambda db: db.execute(text("ALTER TABLE tag ADD COLUMN extra integer")))

    assert await small.query(twice, Context("twice", inf)) == 4


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        open_store("mysql://localhost/x")


@pytest.mark.parametrize("opened", [connect, connect_to_move])
async def test_a_connection_whose_opening_is_called_off_is_closed(store: Store, opened: Any) -> None:
    if not isinstance(store, PostgresStore):
        pytest.skip("SQLite's readers are files")
    for moment in range(100):
        connecting = asyncio.ensure_future(opened(store.url))
        await asyncio.sleep(moment / 4000)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            (await connecting).terminate()

    await nobody_else_is_connected(store)


async def nobody_else_is_connected(store: Store) -> None:
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        while await store.query(lambda db: db.scalar(others)):
            await asyncio.sleep(0.02)


async def test_a_stop_that_is_called_off_leaves_no_connection_open(store: Store) -> None:
    if not isinstance(store, PostgresStore):
        pytest.skip("SQLite's readers are files")
    stopped = open_store(store.url, slots=3)
    everybody_is_here = asyncio.Barrier(3)

    async def meet(db: Database) -> None:
        await db.scalar(text("SELECT 1"))
        await everybody_is_here.wait()

    await asyncio.gather(*(stopped.query(meet) for _ in range(3)))

    stopping = asyncio.create_task(stopped.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    await nobody_else_is_connected(store)
