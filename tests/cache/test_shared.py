"""Answers that processes take over from one another, on a real PostgreSQL and a real Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from kitchen_of_callers import make_app
from redis import Redis
from test_cached_queries import ANN, BOB, _figures, _settle

from private_servers import broker
from toque import App, Principal, public
from toque.cache.circuit import PAUSE_S
from toque.cache.shared import Shared
from toque.settings import Cache, Secret, Settings
from toque.testing import Harness, running
from toque.testing.postgres import PrivatePostgres
from toque.testing.servers import Server

Start = Callable[..., Awaitable[Harness]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from broker("redis")


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def database(postgres: PrivatePostgres) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
async def start(database: str, server: Server, redis: Redis) -> AsyncIterator[Start]:
    """Start one more process's worth of the kitchen."""
    async with AsyncExitStack() as ends:
        started: list[Harness] = []

        async def one_more(app: App | None = None, **cache: Any) -> Harness:
            options = {"shared_url": Secret(server.url), "shared_from_s": 0.0, "verify": "all", **cache}
            settings = Settings(cache=Cache(**options))
            harness = await ends.enter_async_context(
                running(app or make_app(), settings=settings, database_url=database)
            )
            started.append(harness)
            return harness

        first = await one_more()
        await first.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(first)
        one_more.first = first  # type: ignore[attr-defined]
        yield one_more
        for harness in started:
            cache = harness.serving.system.cache
            assert cache is not None
            assert [name for name, query in cache.queries.items() if query.figures.wrong] == []


def _first(start: Start) -> Harness:
    return start.first  # type: ignore[attr-defined,no-any-return]


def _shared(harness: Harness) -> Shared:
    cache = harness.serving.system.cache
    assert cache is not None
    assert cache.shared is not None
    return cache.shared


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def _asked_and_sent(harness: Harness, path: str, **options: Any) -> Any:
    """The answer of *harness*, which the others can take over by now."""
    sent = _shared(harness).sent
    answer = await harness.get(path, **options)
    await _until(lambda: _shared(harness).sent > sent)
    return answer.json()


async def test_what_one_process_found_out_another_takes_over(start: Start) -> None:
    first, second = _first(start), await start()
    found = await _asked_and_sent(first, "/dishes")

    answers = [await second.get("/dishes") for _ in range(3)]

    assert [answer.json() for answer in answers] == [found] * 3
    assert [answer.headers["cache-status"] for answer in answers] == ["toque; hit; detail=shared"] + ["toque; hit"] * 2
    assert (_figures(second, "list_dishes").runs, _figures(second, "list_dishes").shared) == (0, 1)


async def test_what_was_shared_is_counted_beyond_its_end(start: Start) -> None:
    first, second = _first(start), await start()
    await _asked_and_sent(first, "/dishes")
    await second.get("/dishes")
    cache = second.serving.system.cache
    assert cache is not None

    told = (await second.get("/metrics")).text
    await cache.stop()

    # What a worker counted is written once more when it has stopped.
    for text in (told, second.serving.metrics.expose()[0].decode()):
        assert 'toque_cache_shared_total{outcome="taken"} 1.0' in text
        assert 'toque_cache_shared_total{outcome="refused"} 0.0' in text
        assert "toque_cache_shared_failures_total 0.0" in text


async def test_a_process_that_has_just_started_takes_over_what_was_found_before(start: Start) -> None:
    first = _first(start)
    await _asked_and_sent(first, "/dishes/1")
    await first.call("kitchen.add_dish", id=2, name="pie", price=7)
    await _settle(first)

    later = await start()

    assert (await later.get("/dishes/1")).json()["price"] == 5
    assert (_figures(later, "get_dish").runs, _figures(later, "get_dish").shared) == (0, 1)


@pytest.mark.parametrize("is_new", [False, True])
async def test_what_was_changed_since_is_not_taken_over(start: Start, is_new: bool) -> None:
    first = _first(start)
    second = None if is_new else await start()
    await _asked_and_sent(first, "/dishes/1")
    await first.call("kitchen.set_price", id=1, price=6)

    second = second or await start()
    await _settle(second)

    assert (await second.get("/dishes/1")).json()["price"] == 6
    assert (_figures(second, "get_dish").runs, _shared(second).refused) == (1, 1)


async def test_strict_and_own_commits_are_kept_too(start: Start) -> None:
    first, second = _first(start), await start()
    for price in range(10, 25):
        await first.get("/dishes/1", headers={"cache-control": "no-cache"})
        done = await first.post("/price", json={"id": 1, "price": price})
        headers = {"toque-mark": done.headers["toque-mark"]} if price % 2 else {"cache-control": "no-cache"}
        assert (await second.get("/dishes/1", headers=headers)).json()["price"] == price


async def test_nobody_is_given_what_was_found_out_for_another_tenant(start: Start) -> None:
    first, second = _first(start), await start()
    await first.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
    await first.call("kitchen.add_note", id=2, text="of bob", principal=BOB)
    await _settle(first)
    await _settle(second)
    for _ in range(3):  # Only the first run shows what a key must tell.
        await first.get("/notes", principal=ANN)
    await _until(lambda: _shared(first).sent > 0)

    of_bob = [(await second.get("/notes", principal=BOB)).json() for _ in range(3)]
    of_ann = [await second.get("/notes", principal=ANN) for _ in range(2)]

    assert of_bob == [[{"id": 2, "text": "of bob"}]] * 3
    assert [answer.json() for answer in of_ann] == [[{"id": 1, "text": "of ann"}]] * 2
    assert of_ann[0].headers["cache-status"] == "toque; hit; detail=shared"
    assert of_ann[0].headers["cache-control"] == "private, no-cache"


async def test_whole_callers_are_told_apart(start: Start) -> None:
    first, second = _first(start), await start()
    await first.call("kitchen.who", principal=ANN)
    await _until(lambda: _shared(first).sent > 0)

    assert await second.call("kitchen.who", principal=ANN) == "ann: soup"
    assert await second.call("kitchen.who", principal=BOB) == "bob: soup"
    assert await second.call("kitchen.who", principal=Principal(subject="ann", tenant="south")) == "ann: soup"
    assert _figures(second, "who").shared == 1


async def test_what_cannot_be_tracked_is_not_shared(start: Start, redis: Redis) -> None:
    first = _first(start)
    for _ in range(3):
        await first.get("/session")
    await _asked_and_sent(first, "/dishes")

    assert redis.dbsize() == 1


async def test_whoever_has_the_server_alone_can_neither_read_nor_write(start: Start, redis: Redis) -> None:
    first, second = _first(start), await start()
    await _asked_and_sent(first, "/dishes")
    await _asked_and_sent(first, "/dishes/1")
    keys = list(redis.scan_iter())
    values = [redis.get(key) for key in keys]
    assert len(keys) == 2
    assert not any(b"soup" in value for value in values)
    # Swapped, cut, changed in one bit, empty.
    for forged in (
        [*reversed(values)],
        [value[:-1] for value in values],
        [_flipped(value) for value in values],
        [b""] * 2,
    ):
        for key, value in zip(keys, forged, strict=True):
            redis.set(key, value)
        refused, sent = _shared(second).refused, _shared(second).sent

        assert (await second.get("/dishes")).json() == [{"id": 1, "name": "soup", "price": 5}]
        assert (await second.get("/dishes/1")).json() == {"id": 1, "name": "soup", "price": 5}
        assert _shared(second).refused == refused + 2
        await _until(lambda wanted=sent + 2: _shared(second).sent == wanted)  # type: ignore[misc]
        second.serving.system.cache.entries.clear()


def _flipped(value: bytes) -> bytes:
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


@pytest.mark.parametrize(
    "act",
    [
        "ALTER TABLE dish DISABLE TRIGGER USER; UPDATE dish SET price = 9; ALTER TABLE dish ENABLE TRIGGER USER",
        "DELETE FROM toque.change_state; TRUNCATE toque.change; UPDATE dish SET price = 9",
    ],
    ids=["untold", "another log"],
)
async def test_nothing_is_taken_over_from_before_something_was_told_to_nobody(
    start: Start, database: str, act: str
) -> None:
    await _asked_and_sent(_first(start), "/dishes/1")
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(act)
    finally:
        await connection.close()

    later = await start()

    assert (await later.get("/dishes/1")).json()["price"] == 9
    assert _figures(later, "get_dish").shared == 0


async def test_a_release_takes_over_nothing_of_another_one(start: Start) -> None:
    await _asked_and_sent(_first(start), "/dishes")
    changed = make_app()

    @changed.query("/other", allow=public)
    async def other() -> str:
        return "a constant that the release before has not named"

    later = await start(changed)

    await later.get("/dishes")
    assert (_figures(later, "list_dishes").runs, _figures(later, "list_dishes").shared) == (1, 0)


async def test_what_is_found_out_sooner_than_it_is_fetched_is_not_shared(start: Start, redis: Redis) -> None:
    kitchen = await start(shared_from_s=60.0)
    for number in range(1, 4):
        await kitchen.get(f"/dishes/{number}")
        await kitchen.get("/dishes")

    assert redis.dbsize() == 0
    assert _shared(kitchen).sent == 0


async def test_a_server_that_is_not_there_costs_nothing_but_hits(start: Start, server: Server) -> None:
    first, second = _first(start), await start()
    await first.get("/dishes")
    server.kill()
    try:
        for kitchen in (first, second):
            for price in (6, 7):
                await kitchen.call("kitchen.set_price", id=1, price=price)
                answer = await kitchen.get("/dishes", headers={"cache-control": "no-cache"})
                assert answer.json()[0]["price"] == price
        await _until(lambda: not _shared(second).circuit.is_closed)
        failures = _shared(second).circuit.opened
        async with asyncio.timeout(30):
            for number in range(200):
                await second.get(f"/dishes/{number + 100}")
        assert _shared(second).circuit.opened - failures <= 30 / PAUSE_S
    finally:
        server.start()
    await _returns(second, start)


async def test_a_server_that_hangs_is_not_waited_for(start: Start, server: Server) -> None:
    first, second = _first(start), await start()
    await _asked_and_sent(first, "/dishes")
    pid = server._process.pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (await second.get("/dishes")).json()[0]["price"] == 5
        await _until(lambda: not _shared(second).circuit.is_closed)
    finally:
        os.kill(pid, signal.SIGCONT)
    await _returns(second, start)


async def _returns(kitchen: Harness, start: Start) -> None:
    """The server answers again, and what is found out now can be taken over."""

    async def is_back() -> bool:
        await kitchen.get("/dishes/7")
        return _shared(kitchen).circuit.is_closed

    async with asyncio.timeout(60):
        while not await is_back():
            await asyncio.sleep(0.05)
    await kitchen.call("kitchen.set_price", id=1, price=8)
    await _settle(kitchen)
    await _asked_and_sent(kitchen, "/dishes")
    later = await start()
    assert (await later.get("/dishes")).headers["cache-status"] == "toque; hit; detail=shared"
