"""What stands beside the protocol: beginning late, ending early, being wrong, and one's own writes on every way in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kitchen_of_callers import Base, make_app
from sqlalchemy import Connection, MetaData, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, Principal, Struct, authenticated
from toque.cache.cache import Cache
from toque.cache.capture import install
from toque.cache.decisions import Need
from toque.cache.entries import Entries
from toque.cache.predicates import Predicate, ReadSet
from toque.cache.protocol import Seen
from toque.cache.runner import Landing, Looker, Runner
from toque.cache.snapshot import Snapshot
from toque.cache.tags import encoded
from toque.log.tail import Tail
from toque.settings import Cache as CacheSettings
from toque.settings import Settings
from toque.store import open_store
from toque.store.models import NAMES, Conventions
from toque.store.schema import create_missing, with_connection
from toque.testing import Harness, running
from toque.testing.ways_in import WAYS_IN, over_http

ANN = Principal(subject="ann", tenant="north")
TABLES = list(Base.metadata.sorted_tables)


async def _do(url: str, *texts: str) -> None:
    def act(connection: Connection) -> None:
        for each in texts:
            connection.exec_driver_sql(each)

    await asyncio.to_thread(with_connection, url, act)


# Beginning late.


@asynccontextmanager
async def _cache(url: str) -> AsyncIterator[Cache]:
    store = open_store(url)
    await store.start()
    tail = None if store.dialect_name == "sqlite" else Tail(store.url, ())
    cache = Cache(store, TABLES, bytes_max=1_000_000, bound_s=1.0, tail=tail, starts_tail=True, retry_s=0.02)
    try:
        yield cache
    finally:
        await cache.stop()
        await store.stop()


async def _until_on(cache: Cache) -> None:
    async with asyncio.timeout(30):
        while not cache.is_on:
            await asyncio.sleep(0.01)


async def test_a_cache_without_its_log_begins_once_it_is_there(database_url: str) -> None:
    await create_missing(database_url, Base.metadata)
    async with _cache(database_url) as cache:
        await cache.start()
        assert not cache.is_on
        assert "toque db upgrade" in cache.why_off

        await install(database_url, TABLES)
        await _until_on(cache)
        assert set(cache.captured) == {table.fullname for table in TABLES}


async def test_a_cache_without_triggers_begins_once_they_are_there(database_url: str) -> None:
    await create_missing(database_url, Base.metadata)
    await install(database_url, [])
    async with _cache(database_url) as cache:
        await cache.start()
        assert (cache.is_on, cache.captured) == (False, frozenset())
        looks = cache.runner.looks

        await install(database_url, TABLES)
        await _until_on(cache)
        assert cache.runner.looks > looks


async def test_what_is_missing_is_said_once(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    await create_missing(database_url, Base.metadata)
    await install(database_url, [])
    with caplog.at_level(logging.WARNING, "toque.cache"):
        async with _cache(database_url) as cache:
            await cache.start()
            looks = cache.runner.looks
            async with asyncio.timeout(30):
                while cache.runner.looks < looks + 3:
                    await asyncio.sleep(0.01)
    assert len([record for record in caplog.records if "no answer is kept" in record.message]) == 1


# Ending early.


class _Slow(Looker):
    """Looks that come back when they are let."""

    is_immediate = False

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.begun = 0
        self.ended = 0
        self.is_closed = False

    def open(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True

    def has_news(self) -> bool:
        return True

    async def look(self, before: Snapshot | None) -> Seen:
        self.begun += 1
        try:
            await self.let.wait()
        finally:
            self.ended += 1
        return Seen("one", Snapshot(self.begun, self.begun), ())


async def test_a_look_under_way_is_ended_before_what_it_looks_with_is_closed() -> None:
    looker = _Slow()
    runner = Runner(Entries(1_000_000), looker, lambda epoch: None)
    runner.start()
    waiting = asyncio.create_task(runner.barrier())
    async with asyncio.timeout(30):
        while not looker.begun:
            await asyncio.sleep(0)

    await runner.stop()

    assert (looker.begun, looker.ended, looker.is_closed) == (1, 1, True)
    assert not await waiting
    runner.wake()
    assert looker.begun == 1


async def _look(runner: Runner, looker: _Slow) -> None:
    looker.let.set()
    assert await runner.barrier()


async def test_who_watches_an_answer_is_called_once_when_it_is_gone() -> None:
    looker = _Slow()
    runner = Runner(Entries(1_000_000), looker, lambda epoch: None)
    runner.start()
    await _look(runner, looker)
    answer = encoded(b"soup")

    async def fly(flight: int) -> Landing:
        runner.begin(flight)
        runner.read(flight, ReadSet([Predicate("dish")]))
        return Landing(answer)

    landed = await runner.ask("key", Need(1.0), fly)
    assert (landed.value, landed.is_kept) == (answer, True)
    called: list[str] = []
    assert not runner.watch("key", encoded(b"pie"), lambda: called.append("of another answer"))
    assert runner.watch("key", answer, lambda: called.append("first"))

    def stopped() -> None:
        called.append("stopped")

    assert runner.watch("key", answer, stopped)
    runner.unwatch("key", stopped)
    assert called == []

    runner.entries.discard("key")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert called == ["first"]
    assert not runner.watch("key", answer, lambda: called.append("too late"))
    runner.unwatch("key", stopped)
    await runner.stop()


# Being wrong.


async def test_an_answer_that_is_wrong_is_told_and_dropped(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(cache=CacheSettings(verify="all"))
    async with running(make_app(), settings=settings, database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        cache = kitchen.serving.system.cache
        store = kitchen.serving.system.store
        assert cache is not None
        assert store is not None
        assert await cache.runner.barrier()
        figures = cache.queries["kitchen.get_dish"].figures
        for _ in range(2):
            assert (await kitchen.call("kitchen.get_dish", id=1)).name == "soup"
        assert (figures.verified, figures.wrong) == (1, 0)

        told = "toque_change" if store.dialect_name == "sqlite" else "toque.change"
        mine = "pos > 1" if store.dialect_name == "sqlite" else "xid = pg_current_xact_id()"
        await _do(store.url, "UPDATE dish SET name = 'mud' WHERE id = 1", f"DELETE FROM {told} WHERE {mine}")
        with caplog.at_level(logging.ERROR, "toque.cache"):
            await kitchen.call("kitchen.get_dish", id=1)

        assert (figures.verified, figures.wrong) == (2, 1)
        (said,) = (record.message for record in caplog.records if record.levelno == logging.ERROR)
        assert "kitchen.get_dish: an answer from memory was not that of the database" in said
        assert said.endswith("it had read dish(id)")
        assert (await kitchen.call("kitchen.get_dish", id=1)).name == "mud"


# One's own writes.


def _credentials(kitchen: Harness) -> dict[str, str]:
    return {"authorization": f"Bearer {kitchen.token(ANN)}"}


async def test_own_writes_are_seen_over_jsonrpc_in_every_process(database_url: str) -> None:
    async with (
        running(make_app(), database_url=database_url) as first,
        running(make_app(), database_url=database_url) as second,
    ):
        await first.call("kitchen.add_dish", id=1, name="soup", price=5)
        for price in range(10, 30):
            done = await first.post("/rpc", json=_rpc("kitchen.set_price", id=1, price=price))
            assert "error" not in done.json()
            mark = {"toque-mark": done.headers["toque-mark"]} if "toque-mark" in done.headers else {}
            if not database_url.startswith("sqlite"):
                assert mark
            seen = await second.post("/rpc", json=_rpc("kitchen.get_dish", id=1), headers=mark)
            assert seen.json()["result"]["price"] == price
        cache = second.serving.system.cache
        assert cache is not None
        assert cache.is_on


@pytest.mark.parametrize("way", WAYS_IN)
async def test_own_writes_are_seen_on_every_way_in(database_url: str, way: str) -> None:
    come_in = WAYS_IN[way]
    async with running(make_app(), database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        for price in range(10, 20):
            put = ("kitchen.set_price", {"id": 1, "price": price}, ANN)
            # Nobody commands by following.
            written = await come_in(kitchen, *put) or await over_http(kitchen, *put)
            assert written is not None
            assert written.code == "ok"
            for _ in range(2):
                seen = await come_in(kitchen, "kitchen.get_dish", {"id": 1}, ANN)
                assert seen is not None
                assert f'"price":{price}'.encode() in seen.content.replace(b" ", b"")
        cache = kitchen.serving.system.cache
        assert cache is not None
        assert cache.queries["kitchen.get_dish"].figures.hits > 0


def _rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


# Sensitive tables.


class Vault(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Secret(Vault, tenant="branch", sensitive=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    branch: Mapped[str]
    word: Mapped[str]


class SecretView(Struct):
    id: int
    word: str


def _bank() -> App:
    app = App("bank", metadata=Vault.metadata)

    @app.query("/secrets", allow=authenticated)
    async def secrets(db: Database) -> list[SecretView]:
        return await db.all(SecretView, select(Secret).order_by(Secret.id))

    @app.command("/secrets", allow=authenticated)
    async def hide(id: int, word: str, db: Database) -> None:
        await db.execute(insert(Secret).values(id=id, word=word))

    return app


async def test_rows_behind_a_wall_are_never_told_to_another_tenant(database_url: str) -> None:
    callers = {name: Principal(subject=name, tenant=name) for name in ("north", "south")}
    settings = Settings(cache=CacheSettings(verify="all"))
    async with running(_bank(), settings=settings, database_url=database_url) as bank:
        cache = bank.serving.system.cache
        assert cache is not None
        for round_ in range(3):
            for number, (name, who) in enumerate(callers.items()):
                await bank.call("bank.hide", id=10 * round_ + number, word=name, principal=who)
            for _ in range(3):
                for name, who in callers.items():
                    found: Sequence[SecretView] = await bank.call("bank.secrets", principal=who)
                    assert [view.word for view in found] == [name] * (round_ + 1)
        query = cache.queries["bank.secrets"]
        assert query.figures.wrong == 0
        # On SQLite the wall refuses the triggers, so nothing read from it is kept.
        assert (query.figures.hits > 0) == (not database_url.startswith("sqlite"))
