"""A real PgBouncer in transaction mode between the store and PostgreSQL: two sessions for ten connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from kitchen_models import Account, Course, KitchenModel, Sample
from sqlalchemy import func, insert, select, text, update
from test_types import SampleView

from toque.call.context import Context
from toque.contract.errors import Unavailable
from toque.store import Store, open_store
from toque.store.schema import create_missing
from toque.testing.postgres import PrivatePostgres

EVERYTHING = {
    "id": UUID(int=1),
    "text": "é",
    "number": -1,
    "ratio": 0.5,
    "amount": Decimal("1.250"),
    "is_open": True,
    "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "course": Course.STARTER,
    "data": b"\0",
    "document": {"a": [1, None]},
    "words": ["x"],
    "missing": None,
}
TOTAL = select(func.sum(Account.balance))


@pytest.fixture
async def pooled(pooler: Path, postgres: PrivatePostgres) -> AsyncIterator[Store]:
    url = postgres.create_database()
    await create_missing(url, KitchenModel.metadata)
    name = url.partition("?")[0].rpartition("/")[2]
    # PgBouncer's socket has the port that it listens on everywhere: 6432.
    store = open_store(f"postgresql://postgres@/{name}?host={pooler}&port=6432", is_pooled=True)
    await _until_it_answers(store)
    yield store
    await store.stop()
    postgres.drop_database(url)


async def _until_it_answers(store: Store) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.start()
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_many_calls_share_two_sessions_and_none_sees_another_s_state(pooled: Store) -> None:
    await pooled.command(lambda db: db.execute(insert(Account), [{"id": i, "balance": 100} for i in range(10)]))

    async def move(source: int) -> None:
        async def transfer(db: Any) -> None:
            for account, change in sorted(((source, -1), ((source + 3) % 10, 1))):
                await db.execute(update(Account).where(Account.id == account).values(balance=Account.balance + change))

        await pooled.command(transfer, Context("move", inf))

    async def add_up() -> int:
        async def each(db: Any) -> int:
            return sum([await db.scalar(select(Account.balance).where(Account.id == i)) for i in range(10)])

        return await pooled.query(each, Context("add_up", inf))

    results = await asyncio.gather(*(move(i % 10) if i % 2 else add_up() for i in range(100)))

    assert {result for result in results if result is not None} == {1000}
    assert await pooled.query(lambda db: db.scalar(TOTAL)) == 1000


async def test_a_query_cannot_write_though_no_session_is_read_only(pooled: Store) -> None:
    with pytest.raises(PermissionError):
        await pooled.query(lambda db: db.execute(insert(Account).values(id=1, balance=1)))


async def test_every_type_passes(pooled: Store) -> None:
    async def write_and_read(db: Any) -> SampleView:
        await db.execute(insert(Sample).values(**EVERYTHING))
        return await db.one(SampleView, select(Sample))

    assert msgspec.structs.asdict(await pooled.command(write_and_read)) == EVERYTHING


async def test_what_is_cancelled_stops_and_leaves_its_session_usable(pooled: Store) -> None:
    for _ in range(6):
        task = asyncio.ensure_future(pooled.query(lambda db: db.scalar(text("SELECT pg_sleep(600)::text"))))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await asyncio.gather(*(pooled.query(lambda db: db.scalar(TOTAL)) for _ in range(20))) == [None] * 20
