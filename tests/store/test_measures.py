"""How a database is: the figures say what is the case, and looking hurts nobody."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kitchen_models import Account
from kitchen_models import KitchenModel as Base
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import insert, text, update

from toque.app import App
from toque.contract.access import public
from toque.store import Database, Store, open_store
from toque.store.insight import measures
from toque.store.insight.measures import Measure, database_measuring, measure
from toque.store.postgres_connection import connect_to_move
from toque.testing import running


@pytest.fixture
def metadata() -> Any:
    return Base.metadata


def value(found: list[Measure], name: str, **labels: str) -> float:
    return next(one.value for one in found if one.name == name and one.labels == labels)


async def test_a_lock_wait_and_a_long_transaction_are_seen(store: Store) -> None:
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer, and its readers wait for nobody")
    await store.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))
    has_written, may_end = asyncio.Event(), asyncio.Event()
    change = update(Account).values(balance=Account.balance + 1)

    async def hold(db: Database) -> None:
        await db.execute(change)
        has_written.set()
        await may_end.wait()

    holding = asyncio.create_task(store.command(hold))
    await has_written.wait()
    waiting = asyncio.create_task(store.command(lambda db: db.execute(change)))
    for _ in range(200):
        found = await measure(store.url)
        if value(found, "lock_waits"):
            break
        await asyncio.sleep(0.05)
    may_end.set()
    await asyncio.gather(holding, waiting)

    assert value(found, "lock_waits") == 1
    assert value(found, "longest_transaction_seconds") > 0
    assert value(found, "idle_in_transaction_seconds") > 0
    assert value(found, "connections", state="idle in transaction") == 1
    assert value(found, "size_bytes") > 0
    assert value(found, "table_bytes", table="account") > 0


@pytest.mark.parametrize("locked", ["LOCK TABLE account", "REINDEX INDEX pk_account"])
async def test_a_table_that_is_locked_is_left_out_and_the_rest_is_seen(store: Store, locked: str) -> None:
    """Its size waits for whoever has it, a migration say: for as long the database was called down."""
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer, and its readers wait for nobody")
    holder = await connect_to_move(store.url)
    await holder.execute(f"BEGIN; {locked}")

    found = await measure(store.url)

    await holder.close()
    tables = {one.labels["table"] for one in found if one.name == "table_bytes"}
    assert "account" not in tables
    assert "dish" in tables
    assert value(found, "idle_in_transaction_seconds") > 0


async def test_a_log_that_cannot_be_emptied_and_free_room_are_seen(store: Store) -> None:
    if store.dialect_name == "postgresql":
        pytest.skip("PostgreSQL empties its log by itself")
    path = Path(store.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM account").fetchone()
        # More than the thousand pages at which SQLite empties the log, which that reader keeps it from.
        await store.command(lambda db: db.execute(text("CREATE TABLE big AS SELECT zeroblob(8000000) AS x")))
        found = await measure(store.url)
        assert value(found, "wal_bytes") > 8_000_000
        assert value(found, "checkpoint_late_pages") > 900
    assert value(found, "free_bytes") == 0
    await store.command(lambda db: db.execute(text("DROP TABLE big")))

    assert value(await measure(store.url), "free_bytes") > 7_000_000


async def test_many_scrapes_are_one_look(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    async def look(url: str) -> list[Measure]:
        looks.append(url)
        return await measure(url)

    monkeypatch.setattr(measures, "measure", look)
    measuring = database_measuring(store.url)

    seen = await asyncio.gather(*[measuring() for _ in range(20)])
    again = await measuring()

    assert len(looks) == 1
    assert all(found == again for found in seen)
    assert value(again, "up") == 1


@pytest.mark.parametrize("url", ["postgresql://ana:hunter2@127.0.0.1:1/pots", "sqlite:////nowhere/at/all.db"])
async def test_a_database_that_is_down_fails_no_scrape(url: str, caplog: pytest.LogCaptureFixture) -> None:
    found = await database_measuring(url)()

    assert [(one.name, one.value) for one in found] == [("up", 0)]
    assert "hunter2" not in caplog.text


app = App("bank", metadata=Base.metadata)


@app.command("/open", allow=public)
async def open_account(number: int, db: Database) -> None:
    await db.execute(insert(Account).values(id=number, balance=0))


async def test_a_scrape_shows_the_database(database_url: str) -> None:
    async with running(app, database_url=database_url) as bank:
        await bank.call("bank.open_account", number=1)
        shown = (await bank.get("/metrics")).text

    families = {family.name: family for family in parse(shown)}
    assert families["toque_database_up"].samples[0].value == 1
    assert families["toque_database_size_bytes"].samples[0].value > 0
    assert "toque_calls" in families
    if database_url.startswith("postgresql"):
        tables = {sample.labels["table"] for sample in families["toque_database_table_bytes"].samples}
        assert "account" in tables
        assert families["toque_database_commits"].type == "counter"


async def test_an_app_without_a_database_has_none_of_it() -> None:
    bare = App("bare")

    @bare.query("/one", allow=public)
    async def one() -> int:
        return 1

    async with running(bare) as running_bare:
        await running_bare.call("bare.one")
        assert "toque_database" not in (await running_bare.get("/metrics")).text


async def test_looking_writes_nothing(store: Store) -> None:
    other = open_store(store.url)
    await other.start()
    await store.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))
    await measure(store.url)
    assert await other.query(lambda db: db.scalar(text("SELECT count(*) FROM account"))) == 1
    await other.stop()
