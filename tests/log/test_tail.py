"""News are heard soon in every process, an idle tail looks once a second and writes nothing, and names have one holder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from test_log_reading import publish

from toque.log import postgres_wire
from toque.log.probe import EVENTS, Probe
from toque.log.tail import Tail
from toque.log.wire import wire_to
from toque.store import Store

GIVE_UP_S = 10


@pytest.fixture
async def tails(store: Store) -> AsyncIterator[Callable[[], Tail]]:
    made: list[Tail] = []

    def make() -> Tail:
        made.append(Tail(store.url, [EVENTS]))
        return made[-1]

    yield make
    for tail in made:
        await tail.stop()


async def heard(event: asyncio.Event) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        await event.wait()


def listening(tail: Tail) -> asyncio.Event:
    event = asyncio.Event()
    tail.on_news(event.set)
    return event


async def test_polling_alone_is_enough(store: Store, tails: Callable[[], Tail]) -> None:
    tail = tails()
    await tail.start()
    await asyncio.sleep(0.1)
    news = listening(tail)

    await publish(store, 1)

    await heard(news)


async def test_a_ring_is_heard_here_at_once_and_by_others(store: Store, tails: Callable[[], Tail]) -> None:
    here, there = tails(), tails()
    await here.start()
    await there.start()
    await asyncio.sleep(0.1)
    near, far = listening(here), listening(there)

    await publish(store, 1)
    here.ring()

    assert near.is_set()
    await heard(far)


async def test_an_idle_tail_looks_once_a_second(store: Store, tails: Callable[[], Tail]) -> None:
    tail = tails()
    await tail.start()
    await asyncio.sleep(5.5)
    before = tail.looks

    await asyncio.sleep(3.2)

    assert tail.looks - before <= 4


async def test_a_name_has_one_holder(store: Store, tails: Callable[[], Tail]) -> None:
    one, other = tails(), tails()
    await one.start()
    await other.start()

    assert await one.claim("consumer a")
    assert await one.claim("consumer a")
    assert not await other.claim("consumer a")
    assert await other.claim("consumer b")
    await one.release("consumer a")
    assert await other.claim("consumer a")
    assert not one.holds("consumer a")
    await other.stop()
    assert await one.claim("consumer b")


async def test_a_tail_whose_database_was_lost_holds_nothing_and_comes_back(
    store: Store, tails: Callable[[], Tail]
) -> None:
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    one, other = tails(), tails()
    await one.start()
    await other.start()
    await one.claim("consumer a")
    lost = asyncio.Event()
    one.on_lost(lost.set)

    await _cut_all(store)

    await heard(lost)
    assert not one.holds("consumer a")
    async with asyncio.timeout(GIVE_UP_S):
        while not await other.claim("consumer a"):
            await asyncio.sleep(0.02)
    news = listening(one)
    await publish(store, 1)
    await heard(news)


async def _cut_all(store: Store) -> None:
    from sqlalchemy import text

    cut = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'toque tail'")
    await store.query(lambda db: db.scalar(cut))


async def test_a_probe_that_takes_long_is_asked_less_often_and_keeps_no_other_from_being_asked(store: Store) -> None:
    """On PostgreSQL, where one may have to walk over much that a snapshot keeps."""
    if store.dialect_name != "postgresql":
        pytest.skip("SQLite keeps nothing that was deleted")
    slow = Probe("(SELECT 7.0::float8 FROM pg_sleep(0.05))", "7.0", may_walk=True)
    wire = wire_to(store.url, [slow, Probe("1.0::float8", "1.0"), EVENTS], lambda: None)
    await wire.open()
    try:
        assert list(await wire.look())[:2] == [7.0, 1.0]
        await publish(store, 1)
        assert list(await wire.look()) == [None, 1.0, 0.0]
        async with asyncio.timeout(GIVE_UP_S):
            while (found := await wire.look())[0] is None:
                assert found[1] == 1.0
                await asyncio.sleep(0.05)
    finally:
        await wire.close()


async def test_a_wire_that_is_asked_for_nothing_looks_all_the_same(store: Store) -> None:
    """An app without events and jobs has no probes, and its cache one wire: its look was half a list of columns, so that
    nothing was kept in memory on PostgreSQL."""
    wire = wire_to(store.url, [], lambda: None)
    await wire.open()
    try:
        assert list(await wire.look()) == []
    finally:
        await wire.close()


@pytest.mark.parametrize("allowed", ["", "&statement_timeout=300"])
async def test_a_probe_that_takes_too_long_does_not_cut_the_wire(
    store: Store, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    """Neither where it takes longer than any look may, nor where the server allows less; nothing else could ever be
    seen then."""
    if store.dialect_name != "postgresql":
        pytest.skip("SQLite keeps nothing that was deleted")
    monkeypatch.setattr(postgres_wire, "ANSWER_S", 2.0)
    monkeypatch.setattr(postgres_wire, "WALK_S", 1.0 if allowed else 0.3)
    slow = Probe("(SELECT 7.0::float8 FROM pg_sleep(5))", "7.0", may_walk=True)
    wire = wire_to(f"{store.url}{allowed}", [slow, Probe("1.0::float8", "1.0"), EVENTS], lambda: None)
    await wire.open()
    try:
        assert await wire.claim("a name")
        assert list(await wire.look()) == [0.0, None, None]
        await publish(store, 1)
        assert list(await wire.look()) == [None, 1.0, 0.0]
        other = wire_to(store.url, [], lambda: None)
        await other.open()
        assert not await other.claim("a name")
        await other.close()
    finally:
        await wire.close()
