"""A store that more is asked of than it can do, on a database that fails meanwhile: no slot is ever lost.

Every test ends with the count: nothing in use, nobody waiting, and each slot can be taken again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from toque.call.context import Context
from toque.contract.errors import Overloaded, Unavailable
from toque.contract.operation import Kind, Priority
from toque.contract.principal import Principal
from toque.store import Store, open_store
from toque.store.postgres import PostgresStore
from toque.testing.postgres import PrivatePostgres

SLOTS, WAITING_MAX = 3, 6
GIVE_UP_S = 20
PAUSE = {"sqlite": "SELECT 1", "postgresql": "SELECT 1 FROM pg_sleep(0.01)"}


@pytest.fixture
async def small(store: Store) -> AsyncIterator[Store]:
    small = open_store(store.url, slots=SLOTS, waiting_max=WAITING_MAX)
    await small.start()
    yield small
    await small.stop()


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    server = PrivatePostgres()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def call(*, tenant: str = "", priority: Priority = Priority.NORMAL, within: float = GIVE_UP_S) -> Context:
    principal = Principal(subject=tenant, tenant=tenant)
    return Context("work", time.monotonic() + within, principal=principal, priority=priority)


def work(store: Store) -> Callable[[Any], Any]:
    async def run(db: Any) -> None:
        await db.scalar(text(PAUSE[store.dialect_name]))
        await asyncio.sleep(0.002)

    return run


async def outcome(running: Any) -> str:
    try:
        await running
    except (Overloaded, Unavailable) as error:
        return error.code
    except asyncio.CancelledError:
        return "cancelled"
    return "served"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():
            await asyncio.sleep(0.005)


async def expect_whole(store: Store) -> None:
    """Every slot is free, and can be taken: all of them at once."""
    for line in store.lines:
        await until(lambda line=line: line.in_use() == 0)  # type: ignore[misc]
        assert line.line.count == 0
    inside, together = 0, asyncio.Event()

    async def meet(db: Any) -> None:
        nonlocal inside
        await db.scalar(text("SELECT 1"))
        inside += 1
        if inside == SLOTS:
            together.set()
        await together.wait()

    async with asyncio.timeout(GIVE_UP_S):
        await asyncio.gather(*(store.query(meet, call()) for _ in range(SLOTS)))


@pytest.mark.parametrize("kind", Kind)
async def test_a_crowd_is_served_or_refused_and_every_slot_comes_back(small: Store, kind: Kind) -> None:
    run = small.query if kind is Kind.QUERY else small.command
    waiting = small.waiting(kind)
    assert waiting is not None

    found = Counter(await asyncio.gather(*(outcome(run(work(small), call())) for _ in range(60))))

    assert found["served"] >= WAITING_MAX
    assert found["served"] + found["overloaded"] == 60
    assert found["overloaded"] == sum(waiting.refused.values()) > 0
    await expect_whole(small)


@pytest.mark.parametrize("kind", Kind)
async def test_callers_that_leave_while_they_wait_take_nothing_with_them(small: Store, kind: Kind) -> None:
    run = small.query if kind is Kind.QUERY else small.command
    for round_ in range(20):
        calls = [asyncio.ensure_future(run(work(small), call())) for _ in range(SLOTS + WAITING_MAX)]
        # They are cancelled at every stage: before they begin, in the line, as they are handed a slot, and at work.
        for _ in range(round_):
            await asyncio.sleep(0.001)
        for each in calls[::2]:
            each.cancel()
        await asyncio.gather(*map(outcome, calls))

    await expect_whole(small)


async def test_a_tenant_who_asks_for_too_much_is_in_its_own_way_only(small: Store) -> None:
    async def small_tenant(name: str) -> list[str]:
        return [await outcome(small.query(work(small), call(tenant=name))) for _ in range(10)]

    async def hog() -> Counter[str]:
        found: Counter[str] = Counter()
        while not all(each.done() for each in served):
            crowd = [outcome(small.query(work(small), call(tenant="hog"))) for _ in range(30)]
            found.update(await asyncio.gather(*crowd))
        return found

    served = [asyncio.ensure_future(small_tenant(name)) for name in ("a", "b", "c")]
    taken = await hog()

    assert [Counter(await each) for each in served] == [Counter(served=10)] * 3
    assert taken["served"] > 0
    assert taken["overloaded"] > 0
    await expect_whole(small)


async def test_what_matters_passes_a_full_line_of_what_does_not(small: Store) -> None:
    order: list[str] = []
    go_on = asyncio.Event()

    async def hold(db: Any) -> None:
        await db.scalar(text("SELECT 1"))
        await go_on.wait()

    def note(name: str) -> Callable[[Any], Any]:
        async def run(db: Any) -> None:
            await db.scalar(text("SELECT 1"))
            order.append(name)

        return run

    line = small.lines[0].line
    holding = [asyncio.ensure_future(small.query(hold, call())) for _ in range(SLOTS)]
    await until(lambda: small.lines[0].in_use() == SLOTS)
    shed = [
        asyncio.ensure_future(outcome(small.query(note("sheddable"), call(priority=Priority.SHEDDABLE))))
        for _ in range(WAITING_MAX)
    ]
    await until(lambda: line.count == WAITING_MAX)
    critical = asyncio.ensure_future(outcome(small.query(note("critical"), call(priority=Priority.CRITICAL))))
    await asyncio.sleep(0)
    go_on.set()

    assert await critical == "served"
    assert Counter(await asyncio.gather(*shed)) == Counter(served=WAITING_MAX - 1, overloaded=1)
    assert "critical" in order[:SLOTS]  # So many begin at once, and which of them ends first is the server's to say.
    await asyncio.gather(*holding)
    await expect_whole(small)


async def test_who_would_be_late_is_refused_before_the_database_hears_of_it(small: Store) -> None:
    for _ in range(30):  # The line learns its pace.
        await asyncio.gather(*(outcome(small.query(work(small), call())) for _ in range(SLOTS + 2)))
    holding = [asyncio.ensure_future(small.query(work(small), call())) for _ in range(SLOTS + 1)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded) as caught:
        await small.query(work(small), call(within=0.0))

    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 1
    await asyncio.gather(*holding)


async def test_a_database_that_stands_still_loses_no_slot(server: PrivatePostgres) -> None:
    store = open_store(server.url(), slots=SLOTS, waiting_max=WAITING_MAX)
    assert isinstance(store, PostgresStore)
    await store.start()
    try:
        await asyncio.gather(*(outcome(store.query(work(store), call())) for _ in range(SLOTS)))
        frozen = family(server.pid)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            calls = [asyncio.ensure_future(outcome(store.query(work(store), call()))) for _ in range(30)]
            await until(lambda: store.pool.waiting.line.count == WAITING_MAX)
            for each in calls:  # As the gate does at their deadlines.
                each.cancel()
            during = Counter(await asyncio.gather(*calls))
            # Those who are stuck gave their connections up; what takes their place cannot connect yet.
            await until(lambda: store.pool.in_use == 0)
            late = [asyncio.ensure_future(outcome(store.query(work(store), call()))) for _ in range(SLOTS)]
            await asyncio.sleep(0.05)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)

        assert during["cancelled"] + during["overloaded"] == 30
        async with asyncio.timeout(GIVE_UP_S):
            assert Counter(await asyncio.gather(*late)) == Counter(served=SLOTS)
        await expect_whole(store)
        assert store.pool.slots_used <= SLOTS
    finally:
        await store.stop()


async def test_connections_that_are_cut_under_load_are_replaced(server: PrivatePostgres) -> None:
    store = open_store(server.url(), slots=SLOTS, waiting_max=WAITING_MAX)
    assert isinstance(store, PostgresStore)
    axe = open_store(server.url(), slots=1)
    await store.start()
    await axe.start()
    cut = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    asleep = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")

    async def all_asleep() -> None:
        async with asyncio.timeout(GIVE_UP_S):
            while await axe.query(lambda db: db.scalar(asleep)) != SLOTS:
                await asyncio.sleep(0.005)

    try:
        found: Counter[str] = Counter()
        for _ in range(12):  # Wherever the axe finds them: connecting, between statements, in one, or done.
            calls = [asyncio.ensure_future(outcome(store.query(work(store), call()))) for _ in range(SLOTS * 2)]
            await asyncio.sleep(0.005)
            await axe.query(lambda db: db.scalar(cut))
            found.update(await asyncio.gather(*calls))
        assert found["served"] + found["unavailable"] == 12 * SLOTS * 2

        # What may not be run again by itself says that it was cut; what may is served by another connection.
        sleep = text("SELECT 1 FROM pg_sleep(20)")
        calls = [
            asyncio.ensure_future(outcome(store.query(lambda db: db.scalar(sleep), call(), is_repeatable=False)))
            for _ in range(SLOTS)
        ]
        await all_asleep()
        await axe.query(lambda db: db.scalar(cut))
        assert Counter(await asyncio.gather(*calls)) == Counter(unavailable=SLOTS)

        await expect_whole(store)
        assert store.pool.slots_used <= SLOTS
    finally:
        await axe.stop()
        await store.stop()


async def test_a_server_that_goes_away_wakes_everybody_who_waits(server: PrivatePostgres) -> None:
    store = open_store(server.url(), slots=SLOTS, waiting_max=WAITING_MAX)
    assert isinstance(store, PostgresStore)
    await store.start()
    try:
        calls = [asyncio.ensure_future(outcome(store.query(work(store), call()))) for _ in range(SLOTS + WAITING_MAX)]
        await until(lambda: store.pool.waiting.line.count == WAITING_MAX)
        server.kill()

        async with asyncio.timeout(GIVE_UP_S):
            found = Counter(await asyncio.gather(*calls))
        assert found["unavailable"] > 0
        assert store.pool.in_use == store.pool.waiting.line.count == 0

        await asyncio.to_thread(server.start)
        await expect_whole(store)
    finally:
        await store.stop()


def family(pid: int) -> list[int]:
    """A server and its own processes, the parent first, so that it starts no more of them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for file in tasks for child in file.read_text().split())]
