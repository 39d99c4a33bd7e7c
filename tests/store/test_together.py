"""Commands that only have rows to attach share a transaction, and none fails because of another."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any
from uuid import uuid4

import pytest

from toque.log.append import append
from toque.messages.jobs.recording import RECORD
from toque.store import Store, open_store
from toque.store.closing import Superseded
from toque.store.database import Database, transaction_of
from toque.store.own import look
from toque.store.prepared import Prepared
from toque.store.sqlite import SqliteStore
from toque.testing.faults import Cut, proxy_before

MANY = 40


@pytest.fixture
def log(log_store: Store) -> Store:
    return log_store


def publish(key: str) -> Any:
    async def run(database: Database) -> None:
        append(transaction_of(database), "Rung", 1, key=key, headers={}, data=b"{}")

    return run


async def superseded(database: Database) -> None:
    append(transaction_of(database), "Rung", 1, key="lost", headers={}, data=b"{}")
    transaction_of(database).attached.append((RECORD, (uuid4(), 1, 1, "step", "null")))


async def keys(store: Store) -> list[str]:
    table = "toque.event" if store.dialect_name == "postgresql" else "toque_event"
    return sorted(row[0] for row in await look(store, Prepared(f"SELECT key FROM {table}")))


async def test_all_that_come_at_once_are_kept_in_few_transactions(log: Store) -> None:
    await asyncio.gather(*(log.command(publish(f"{n:02}")) for n in range(MANY)))

    assert await keys(log) == [f"{n:02}" for n in range(MANY)]
    if log.dialect_name == "postgresql":
        count = (await look(log, Prepared("SELECT count(DISTINCT xid) FROM toque.event")))[0][0]
    else:
        assert isinstance(log, SqliteStore)
        count = log.writer.commands
    assert count < MANY / 4


async def test_one_that_fails_fails_alone(log: Store) -> None:
    done = await asyncio.gather(
        *(log.command(superseded if n == 7 else publish(f"{n:02}")) for n in range(MANY)), return_exceptions=True
    )

    assert [n for n, outcome in enumerate(done) if outcome is not None] == [7]
    assert isinstance(done[7], Superseded)
    assert await keys(log) == [f"{n:02}" for n in range(MANY) if n != 7]


async def test_one_that_comes_as_the_last_ends_is_not_left_behind(log: Store) -> None:
    for n in range(MANY):
        await log.command(publish(f"{n:02}"))

    assert len(await keys(log)) == MANY


async def test_one_that_is_stopped_before_its_turn_is_not_kept(log: Store) -> None:
    tasks = [asyncio.ensure_future(log.command(publish(f"{n:02}"))) for n in range(MANY)]
    await asyncio.sleep(0)
    tasks[9].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(done[9], asyncio.CancelledError)
    assert await keys(log) == [f"{n:02}" for n in range(MANY) if n != 9]


@pytest.mark.parametrize("cut", ["before", "unanswered", "answered"])
async def test_each_is_kept_once_wherever_their_connection_was_cut(log: Store, cut: Cut) -> None:
    if log.dialect_name == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    async with proxy_before(log.url) as proxy:
        behind = open_store(proxy.url)
        await behind.start()
        proxy.cuts = cycle([cut, "none", "none"])
        await asyncio.gather(*(behind.command(publish(f"{n:02}")) for n in range(MANY)))
        await behind.stop()

    assert await keys(log) == [f"{n:02}" for n in range(MANY)]
