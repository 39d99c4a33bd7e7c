"""What owners, dumps and migrations do to a database, past every trigger: no answer from memory outlives it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from kitchen_of_callers import Dish, make_app
from sqlalchemy import Connection

import private_servers
from toque.cache.capture import install
from toque.contract.errors import Unavailable
from toque.store.schema import with_connection
from toque.testing import Harness, running
from toque.testing.postgres import PrivatePostgres

T = TypeVar("T")

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def own_server() -> Iterator[PrivatePostgres]:
    """One that is stopped, killed and copied."""
    yield from private_servers.postgres(is_durable=True)


@pytest.fixture
def subscriber() -> Iterator[PrivatePostgres]:
    """One that may replicate."""
    yield from private_servers.postgres(options={"wal_level": "logical"})


@pytest.fixture
async def kitchen(database_url: str) -> AsyncIterator[Harness]:
    """Its role is no superuser, so no event trigger tells of DDL."""
    async with kitchen_at(database_url) as kitchen:
        yield kitchen


@asynccontextmanager
async def kitchen_at(url: str) -> AsyncIterator[Harness]:
    async with running(make_app(), database_url=url) as kitchen:
        await run(url, ["DROP EVENT TRIGGER toque_change_ddl"])
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
        yield kitchen


async def run(url: str, statements: Sequence[str]) -> None:
    """Run *statements* in one transaction, as somebody who has never heard of Toque."""
    connection: Any = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


async def prices(kitchen: Harness) -> list[int]:
    return [dish.price for dish in await kitchen.call("kitchen.list_strictly")]


async def is_kept(kitchen: Harness) -> None:
    """Come back when the answer is one from memory: what follows is about that."""
    cache = kitchen.serving.system.cache
    assert cache is not None
    figures = cache.queries["kitchen.list_strictly"].figures
    async with asyncio.timeout(30):
        hits = figures.hits
        while figures.hits == hits:
            await prices(kitchen)


TRIGGERS = ("insert", "update", "delete", "truncate")

ACTS = {
    "triggers off and on again": [
        "ALTER TABLE dish DISABLE TRIGGER ALL",
        "UPDATE dish SET price = price + 1",
        *(f"ALTER TABLE dish ENABLE ALWAYS TRIGGER toque_change_{event}" for event in TRIGGERS),
    ],
    "triggers off and on again, as pg_restore has them": [
        "ALTER TABLE dish DISABLE TRIGGER ALL",
        "UPDATE dish SET price = price + 1",
        "ALTER TABLE dish ENABLE TRIGGER ALL",
    ],
    "as a replica": ["SET LOCAL session_replication_role = replica", "UPDATE dish SET price = price + 1"],
    "another type": ["ALTER TABLE dish ALTER COLUMN price TYPE integer USING price + 1"],
    "another column of that name": [
        "ALTER TABLE dish DROP COLUMN price",
        "ALTER TABLE dish ADD COLUMN price integer NOT NULL DEFAULT 6",
        "ALTER TABLE dish ALTER COLUMN price DROP DEFAULT",
    ],
    # Of a table's own row in the catalog it leaves no trace.
    "two columns that change names": [
        "ALTER TABLE dish RENAME COLUMN price TO was",
        "ALTER TABLE dish RENAME COLUMN id TO price",
        "ALTER TABLE dish RENAME COLUMN was TO id",
    ],
    "another table of that name": [
        "CREATE TABLE dish_new AS SELECT id, name, price + 1 AS price FROM dish",
        "ALTER TABLE dish RENAME TO dish_old",
        "ALTER TABLE dish_new RENAME TO dish",
    ],
    "another schema of that name": [
        "CREATE SCHEMA next",
        "CREATE TABLE next.dish AS SELECT id, name, price + 1 AS price FROM dish",
        "ALTER SCHEMA public RENAME TO former",
        "ALTER SCHEMA next RENAME TO public",
    ],
    "made anew": [
        "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM dish",
        "DROP TABLE dish",
        "CREATE TABLE dish AS SELECT id, name, price + 1 AS price FROM kept",
    ],
    "emptied and filled": [
        "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM dish",
        "TRUNCATE dish CASCADE",
        "INSERT INTO dish SELECT id, name, price + 1 FROM kept",
    ],
    "merged": [
        "MERGE INTO dish USING (SELECT 1 AS id) AS source ON dish.id = source.id WHEN MATCHED THEN UPDATE SET price = 9"
    ],
    "written by a function": [
        "DO $$ BEGIN FOR n IN 1..3 LOOP UPDATE dish SET price = price + 1 WHERE id = 2; END LOOP; END $$"
    ],
}


@ON_POSTGRES
async def test_what_an_author_vouches_for_is_kept_only_where_its_changes_are_told(
    kitchen: Harness, database_url: str
) -> None:
    """It was kept wherever he vouched, and nothing dropped it any more."""

    async def count() -> Any:
        return (await kitchen.get("/trusted", headers={"cache-control": "no-cache"})).json()

    assert [await count() for _ in range(3)] == [2] * 3
    await run(database_url, ["ALTER TABLE dish DISABLE TRIGGER ALL"])

    assert [await count() for _ in range(3)] == [2] * 3
    await run(database_url, ["INSERT INTO dish (id, name, price) VALUES (3, 'tea', 1)"])
    assert [await count() for _ in range(3)] == [3] * 3


@ON_POSTGRES
@pytest.mark.parametrize("act", ACTS)
async def test_it_is_seen_at_once_by_who_is_strict(kitchen: Harness, database_url: str, act: str) -> None:
    await is_kept(kitchen)
    before = await prices(kitchen)

    await run(database_url, ACTS[act])

    after = await prices(kitchen)
    assert after == await _in_truth(database_url)
    assert after != before


@ON_POSTGRES
async def test_a_partition_that_comes_or_goes_is_seen(database_url: str) -> None:
    async with kitchen_at(database_url) as kitchen:
        await run(
            database_url,
            [
                "ALTER TABLE dish RENAME TO dish_old",
                "CREATE TABLE dish (id integer PRIMARY KEY, name text, price integer) PARTITION BY RANGE (id)",
                "CREATE TABLE dish_few PARTITION OF dish FOR VALUES FROM (0) TO (100)",
                "CREATE TABLE dish_many (id integer PRIMARY KEY, name text, price integer)",
                "INSERT INTO dish_many VALUES (101, 'stew', 11)",
            ],
        )
        await install(database_url, [Dish.__table__])
        await run(database_url, ["DROP EVENT TRIGGER toque_change_ddl"])
        assert await prices(kitchen) == []
        await is_kept(kitchen)

        await run(database_url, ["ALTER TABLE dish ATTACH PARTITION dish_many FOR VALUES FROM (100) TO (200)"])
        assert await prices(kitchen) == [11]
        await run(database_url, ["ALTER TABLE dish DETACH PARTITION dish_many"])
        assert await prices(kitchen) == []


@pytest.fixture
def modest_url(postgres: PrivatePostgres, database_url: str) -> Iterator[str]:
    """The database belongs to a role for which policies hold."""
    name = database_url.partition("?")[0].rpartition("/")[2]
    postgres.sql("CREATE ROLE modest LOGIN")
    postgres.sql(f"ALTER DATABASE {name} OWNER TO modest")
    yield database_url.replace("postgres@", "modest@")
    postgres.drop_database(database_url)
    postgres.sql("DROP ROLE modest")


@ON_POSTGRES
async def test_nothing_is_kept_of_a_table_with_a_policy_of_somebody_else(modest_url: str) -> None:
    async with running(make_app(), database_url=modest_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await is_kept(kitchen)
        await run(
            modest_url,
            [
                "CREATE TABLE menu (dish_id integer)",
                "CREATE POLICY on_menu ON dish USING (id IN (SELECT dish_id FROM menu))",
                "ALTER TABLE dish ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE dish FORCE ROW LEVEL SECURITY",
            ],
        )
        cache = kitchen.serving.system.cache
        assert cache is not None
        async with asyncio.timeout(30):
            while "dish" not in cache.blind:
                await asyncio.sleep(0.01)
        assert "on_menu" in cache.blind["dish"][0]
        for statement, seen in (
            ("INSERT INTO menu VALUES (1)", [5]),
            ("DELETE FROM menu", []),
            ("ALTER POLICY on_menu ON dish USING (true)", [5]),
        ):
            await run(modest_url, [statement])
            assert await prices(kitchen) == seen, statement


@ON_POSTGRES
@pytest.mark.parametrize(
    "act",
    [
        "ALTER POLICY toque_read ON dish USING (price > 5)",
        "DROP POLICY toque_read ON dish",
        "CREATE POLICY toque_more ON dish AS RESTRICTIVE USING (price > 5)",
        "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'",
    ],
)
async def test_what_is_in_no_table_is_a_change_of_the_schema(modest_url: str, act: str) -> None:
    async with running(make_app(), database_url=modest_url) as kitchen:
        await run(
            modest_url,
            [
                "CREATE TYPE mood AS ENUM ('good')",
                "CREATE POLICY toque_read ON dish USING (true)",
                "ALTER TABLE dish ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE dish FORCE ROW LEVEL SECURITY",
            ],
        )
        cache = kitchen.serving.system.cache
        assert cache is not None
        assert await cache.runner.barrier()
        before = cache.runner.epoch
        await run(modest_url, [act])

        assert await cache.runner.barrier()
        assert cache.runner.epoch != before


async def test_a_server_that_was_put_back_to_yesterday_is_another_one(own_server: PrivatePostgres) -> None:
    url = own_server.create_database()
    async with kitchen_at(url) as kitchen:
        data, yesterday = own_server.folder / "data", own_server.folder / "yesterday"
        own_server.terminate()
        shutil.copytree(data, yesterday)
        _own_as(yesterday, data)
        own_server.start()
        for price in (20, 30):
            await _in_time(lambda price=price: kitchen.call("kitchen.set_price", id=1, price=price))  # type: ignore[misc]
        await is_kept(kitchen)
        assert await prices(kitchen) == [30, 7]

        own_server.terminate()
        shutil.rmtree(data)
        yesterday.rename(data)
        own_server.start()

        # Nothing is asked before the cache follows the log again: it must know by itself that the answer is of no worth.
        await _follows(kitchen)
        assert await prices(kitchen) == [5, 7]


async def test_nothing_is_kept_of_a_table_into_which_another_server_replicates(subscriber: PrivatePostgres) -> None:
    """Who applies what a publication says fires no trigger of a statement (manual, "Logical Replication", "Architecture")."""
    url, published = subscriber.create_database(), subscriber.create_database()
    async with kitchen_at(url) as kitchen:
        await run(published, ["CREATE TABLE dish (id integer PRIMARY KEY, name text, price integer)"])
        await run(published, ["CREATE PUBLICATION menu FOR TABLE dish"])
        await run(published, ["SELECT pg_create_logical_replication_slot('menu', 'pgoutput')"])
        await is_kept(kitchen)
        name = published.partition("?")[0].rpartition("/")[2]
        await run(
            url,
            [
                "CREATE SUBSCRIPTION menu CONNECTION "
                f"'host={subscriber.folder} user=postgres dbname={name}' PUBLICATION menu "
                "WITH (create_slot = false, copy_data = false)"
            ],
        )
        assert await prices(kitchen) == [5, 7]

        await run(published, ["INSERT INTO dish VALUES (3, 'stew', 11)"])
        async with asyncio.timeout(30):
            while await _in_truth(url) != [5, 7, 11]:
                await asyncio.sleep(0.05)

        assert await prices(kitchen) == [5, 7, 11]
        cache = kitchen.serving.system.cache
        assert cache is not None
        assert "subscription" in cache.blind["dish"][0]


@ON_POSTGRES
@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_log_that_a_dump_brought_from_another_server_begins_anew(database_url: str, is_lost: bool) -> None:
    """There the transactions had numbers that none reaches here."""
    async with kitchen_at(database_url) as kitchen:
        brought = "INSERT INTO toque.change (xid, name) VALUES ('900000000001', 'dish')"
        lost = ["UPDATE toque.change_state SET lost = '900000000000'"] if is_lost else []
        await run(database_url, [brought, *lost])
        await is_kept(kitchen)
        assert await prices(kitchen) == [5, 7]

        await run(database_url, ["UPDATE dish SET price = 6 WHERE id = 1"])
        assert await prices(kitchen) == [6, 7]
        await is_kept(kitchen)
        assert await prices(kitchen) == [6, 7]


async def test_after_a_crash_of_the_server_answers_are_kept_again(own_server: PrivatePostgres) -> None:
    """It has emptied the log, and the app goes on."""
    async with kitchen_at(own_server.create_database()) as kitchen:
        await is_kept(kitchen)
        own_server.kill()
        own_server.start()

        await _in_time(lambda: kitchen.call("kitchen.set_price", id=1, price=6))
        await is_kept(kitchen)
        assert await prices(kitchen) == [6, 7]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_whoever_empties_the_log_too_is_answered_and_the_next_start_keeps_again(database_url: str) -> None:
    """As a script does that empties all tables between two tests."""
    emptied = [f"DELETE FROM {name}" for name in ("dish", "toque_change", "toque_change_state", "sqlite_sequence")]
    async with running(make_app(), database_url=database_url) as kitchen:
        for number in (1, 2):
            await kitchen.call("kitchen.add_dish", id=1, name="soup", price=number)
            assert await prices(kitchen) == [number]
            await asyncio.to_thread(with_connection, database_url, _doing(emptied))
            assert await prices(kitchen) == []
    async with running(make_app(), database_url=database_url) as kitchen:
        await is_kept(kitchen)


def _doing(statements: Sequence[str]) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    return act


async def _follows(kitchen: Harness) -> None:
    cache = kitchen.serving.system.cache
    assert cache is not None
    async with asyncio.timeout(30):
        while not await cache.runner.barrier():
            await asyncio.sleep(0.05)


async def _in_time(call: Callable[[], Awaitable[T]]) -> T:
    """What *call* gives once the server is there again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


def _own_as(copy: Path, original: Path) -> None:
    for path in (copy, *copy.rglob("*")):
        os.chown(path, original.stat().st_uid, original.stat().st_gid)


async def _in_truth(url: str) -> list[int]:
    connection: Any = await asyncpg.connect(url)
    try:
        return [row["price"] for row in await connection.fetch("SELECT price FROM dish ORDER BY id")]
    finally:
        await connection.close()
