"""Slow statements are logged with operation, trace and plan; never run again, never with values unless told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from kitchen_models import Account
from kitchen_models import KitchenModel as Base
from sqlalchemy import bindparam, insert, select, text, update

from toque.call.context import Context
from toque.store import Database, Statement, open_store
from toque.store.insight.explaining import explain
from toque.store.insight.slow import SlowStatements
from toque.store.schema import create_missing

SECRET = 424242


@pytest.fixture
async def seen(database_url: str, caplog: pytest.LogCaptureFixture) -> Any:
    """Runs a call's statements on a store to which everything is slow: the log's records."""
    await create_missing(database_url, Base.metadata)

    async def run(*acts: Any, with_values: bool = False) -> list[Any]:
        caplog.clear()
        slow = SlowStatements(database_url, 1e-6, with_values=with_values)
        store = open_store(database_url, observer=slow)
        await store.start()
        try:
            for act in acts:
                await store.command(act, Context.within("bank.pay", 5))
                if slow._telling is not None:
                    await slow._telling
        finally:
            await slow.stop()
            await store.stop()
        return [record for record in caplog.records if record.name == "toque.statements"]

    with caplog.at_level(logging.WARNING, "toque.statements"):
        yield run


def read(db: Database) -> Any:
    return db.first(int, select(Account.id).where(Account.balance == SECRET))


async def test_a_slow_statement_has_its_plan_and_its_call(seen: Any) -> None:
    (record,) = await seen(read)

    assert record.getMessage().startswith("slow statement: SELECT account.id FROM account WHERE account.balance = ")
    assert "account" in record.plan
    assert "scan" in record.plan.lower()
    assert (record.call.operation, len(record.call.trace.trace_id)) == ("bank.pay", 32)
    assert (record.times, record.rows) == (1, 0)
    assert str(SECRET) not in str(vars(record))


async def test_values_are_logged_when_told(seen: Any) -> None:
    (record,) = await seen(read, with_values=True)

    assert str(SECRET) in record.values


async def test_a_write_is_explained_and_not_run_again(seen: Any, database_url: str) -> None:
    async def write(db: Database) -> None:
        await db.execute(insert(Account), [{"id": n, "balance": n} for n in (1, 2)])

    async def change(db: Database) -> None:
        await db.execute(update(Account).values(balance=Account.balance + bindparam("more")), {"more": 5})

    records = await seen(write, change)

    assert ["unknown" in record.plan for record in records] == [False, False]
    store = open_store(database_url)
    await store.start()
    assert await store.query(lambda db: db.all(int, select(Account.balance).order_by(Account.id))) == [6, 7]
    await store.stop()


async def test_the_same_text_is_told_once_a_minute(seen: Any) -> None:
    assert len(await seen(*[read] * 5)) == 1


async def test_what_cannot_be_explained_is_still_told(seen: Any, database_url: str) -> None:
    async def gone(db: Database) -> None:
        await db.execute(text("CREATE TABLE gone (id int)"))
        await db.execute(text("DROP TABLE gone"))

    records = await seen(gone)

    assert [record.plan.startswith("unknown: ") or not record.plan for record in records] == [True] * len(records)


async def test_fast_statements_are_not_told_and_explaining_never_queues(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow = SlowStatements(database_url, 1000)
    context = Context.within("bank.pay", 5)

    def statement(sql: str, milliseconds: int) -> Statement:
        return Statement(sql, False, (), context, 0, milliseconds * 1_000_000, 1)

    slow(statement("SELECT 1", 999))
    assert slow._telling is None
    slow(statement("SELECT 1", 1000))
    first = slow._telling
    slow(statement("SELECT 2", 5000))
    assert slow._telling is first
    await slow.stop()
    assert first is not None
    assert first.cancelled() or first.done()


async def test_a_plan_has_no_values(database_url: str) -> None:
    await create_missing(database_url, Base.metadata)
    sign = "?" if database_url.startswith("sqlite") else "$1::int"

    plan = await explain(database_url, f"SELECT * FROM account WHERE id = {sign}", [SECRET])

    assert str(SECRET) not in " ".join(plan)
    assert await asyncio.wait_for(explain(database_url, "SELECT 1", []), 10)
