"""Queries on a real streaming replica: never around one's own write, never older than the promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from math import inf

import pytest
from kitchen_models import Account, KitchenModel
from sqlalchemy import insert, select, text, update

from toque.call.context import UNCALLED, Context, Mark
from toque.contract.errors import Overloaded
from toque.contract.operation import Kind
from toque.store import Database, open_store
from toque.store.postgres import PostgresStore
from toque.store.replicas import STALE_S
from toque.store.schema import create_missing
from toque.testing.postgres import PrivatePostgres

BALANCE = select(Account.balance).where(Account.id == 1)
ON_REPLICA = text("SELECT pg_is_in_recovery()")


@pytest.fixture
def servers(postgres: PrivatePostgres) -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    replica = postgres.replica()
    replica.start()
    yield postgres, replica
    replica.stop()


@pytest.fixture
async def store(servers: tuple[PrivatePostgres, PrivatePostgres]) -> AsyncIterator[PostgresStore]:
    primary, replica = servers
    url = primary.create_database()
    await create_missing(url, KitchenModel.metadata)
    store = open_store(url, replicas=[replica.url(url.partition("?")[0].rpartition("/")[2])])
    assert isinstance(store, PostgresStore)
    await store.start()
    await store.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))
    await until_on_replica(store)
    yield store
    await store.stop()
    primary.drop_database(url)


async def is_on_replica(store: PostgresStore, context: Context) -> bool:
    return await store.query(lambda db: db.scalar(ON_REPLICA), context)


async def until_on_replica(store: PostgresStore, mark: Mark | None = None) -> None:
    """Come back when queries go to the replica: it has to be connected, and looked at."""
    async with asyncio.timeout(30):
        while not await is_on_replica(store, Context("look", inf, mark=mark or Mark())):
            await asyncio.sleep(0.01)


async def set_balance(store: PostgresStore, balance: int) -> Mark:
    mark = Mark()
    context = Context("set", inf, mark=mark)
    await store.command(lambda db: db.execute(update(Account).values(balance=balance)), context)
    return mark


async def test_a_caller_reads_his_own_write_wherever_the_query_goes(store: PostgresStore) -> None:
    for balance in range(1, 60):
        context = Context("get", inf, mark=await set_balance(store, balance))
        assert await store.query(lambda db: db.scalar(BALANCE), context) == balance
        if balance % 20 == 0:
            await until_on_replica(store, context.mark)
            assert await store.query(lambda db: db.scalar(BALANCE), context) == balance


async def test_a_replica_that_lags_answers_nobody_who_would_notice(
    store: PostgresStore, servers: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    lagging = open_store(servers[1].url())
    await lagging.start()
    await lagging.query(lambda db: db.scalar(text("SELECT pg_wal_replay_pause()::text")))
    mark = await set_balance(store, 7)

    assert await store.query(lambda db: db.scalar(BALANCE), Context("get", inf, mark=mark)) == 7
    for _ in range(8):  # Looked at more than once after the promise has run out.
        await asyncio.sleep(STALE_S / 4)
        assert not await is_on_replica(store, Context("get", inf, mark=mark))
    assert await store.query(lambda db: db.scalar(BALANCE), Context("get", inf, mark=Mark())) == 7

    await lagging.query(lambda db: db.scalar(text("SELECT pg_wal_replay_resume()::text")))
    await until_on_replica(store)
    assert await store.query(lambda db: db.scalar(BALANCE), Context("get", inf, mark=Mark())) == 7
    await lagging.stop()


async def test_no_query_fails_when_a_replica_dies_and_it_is_used_again_when_it_is_back(
    store: PostgresStore, servers: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    async def read() -> int:
        return await store.query(lambda db: db.scalar(BALANCE), Context("get", inf, mark=Mark()))

    reads = [asyncio.ensure_future(read()) for _ in range(50)]
    servers[1].kill()
    assert await asyncio.gather(*reads) == [0] * 50
    assert await asyncio.gather(*[read() for _ in range(50)]) == [0] * 50

    servers[1].start()
    await until_on_replica(store)


async def test_a_replica_that_was_promoted_answers_nobody(
    store: PostgresStore, servers: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    """It has replayed all that the primary wrote, and goes on by itself: a copy that somebody tries something on."""
    database = store.url.partition("?")[0].rpartition("/")[2]
    promoted = open_store(servers[1].url(database))
    await promoted.start()
    await promoted.query(lambda db: db.scalar(text("SELECT pg_promote()")))
    await promoted.command(lambda db: db.execute(update(Account).values(balance=777)))

    await asyncio.sleep(STALE_S)  # What was seen of it before may still be used.
    for _ in range(8):
        await asyncio.sleep(STALE_S / 4)
        assert await store.query(lambda db: db.scalar(BALANCE), Context("get", inf, mark=Mark())) == 0
    await promoted.stop()


async def test_a_query_that_writes_is_refused_on_a_replica_as_on_the_primary(store: PostgresStore) -> None:
    with pytest.raises(PermissionError):
        await store.query(lambda db: db.execute(update(Account).values(balance=9)), Context("get", inf, mark=Mark()))


async def test_sqlite_has_no_replicas() -> None:
    with pytest.raises(ValueError, match="without replicas"):
        open_store("sqlite://", replicas=["postgresql://localhost/app"])


async def test_what_the_app_does_for_itself_stays_on_the_primary(store: PostgresStore) -> None:
    await until_on_replica(store)

    assert not await is_on_replica(store, UNCALLED)


async def test_queries_of_a_replica_do_not_wait_for_room_on_the_primary(
    servers: tuple[PrivatePostgres, PrivatePostgres],
) -> None:
    """Whose turn it is on the primary says nothing about the replica, so only commands are asked for room before."""
    primary, replica = servers
    url = primary.create_database()
    await create_missing(url, KitchenModel.metadata)
    copied = replica.url(url.partition("?")[0].rpartition("/")[2])
    store = open_store(url, slots=1, waiting_max=1, replicas=[copied])
    assert isinstance(store, PostgresStore)
    await store.start()
    held, let_go = asyncio.Event(), asyncio.Event()

    async def hold(db: Database) -> None:
        await db.execute(insert(Account).values(id=1, balance=0))
        held.set()
        await let_go.wait()

    try:
        await until_on_replica(store)
        holding = asyncio.ensure_future(store.command(hold, Context("hold", inf)))
        await held.wait()
        waiting = store.waiting(Kind.COMMAND)
        assert waiting is not None
        following = asyncio.ensure_future(store.command(add_second, Context("next", inf)))
        while not waiting.line.count:
            await asyncio.sleep(0)

        assert store.waiting(Kind.QUERY) is None
        assert await is_on_replica(store, Context("look", inf, mark=Mark()))
        with pytest.raises(Overloaded):
            waiting.check(Context("late", inf))

        let_go.set()
        await asyncio.gather(holding, following)
    finally:
        let_go.set()
        await store.stop()
        primary.drop_database(url)


async def add_second(db: Database) -> None:
    await db.execute(insert(Account).values(id=2, balance=0))
