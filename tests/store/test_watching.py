"""Statements that a call runs once per row are found; the same run in one go, or in production, is not."""

from __future__ import annotations

import logging

import pytest
from kitchen_models import Account
from kitchen_models import KitchenModel as Base
from sqlalchemy import insert, select, update

from toque.app import App
from toque.contract.access import public
from toque.settings import Settings
from toque.settings.tree import App as AppSettings
from toque.settings.tree import Database as DatabaseSettings
from toque.settings.tree import Http
from toque.store import Database
from toque.store.insight.watch import REPEATS_MIN
from toque.testing import counted, running

app = App("bank", metadata=Base.metadata)


@app.command("/accounts", allow=public)
async def open_accounts(count: int, db: Database) -> None:
    await db.execute(insert(Account), [{"id": number, "balance": number} for number in range(count)])


@app.query("/each", allow=public, cached=False)  # Every call is to run.
async def read_each(count: int, db: Database) -> list[int]:
    return [await db.scalar(select(Account.balance).where(Account.id == number)) for number in range(count)]


@app.query("/same", allow=public, cached=False)
async def read_same(count: int, db: Database) -> list[int]:
    return [await db.scalar(select(Account.balance).where(Account.id == 1)) for _ in range(count)]


@app.query("/all", allow=public)
async def read_all(count: int, db: Database) -> list[int]:
    return await db.all(int, select(Account.balance).where(Account.id.in_(range(count))))


@app.command("/write_each", allow=public)
async def write_each(count: int, db: Database) -> None:
    for number in range(count):
        await db.execute(update(Account).where(Account.id == number).values(balance=0))


async def test_a_statement_for_each_row_is_warned_of_once(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(app, database_url=database_url) as bank:
        await bank.call("bank.open_accounts", count=20)
        with caplog.at_level(logging.WARNING, "toque.statements"):
            await bank.call("bank.read_each", count=20)
            await bank.call("bank.read_each", count=20)
            await bank.call("bank.write_each", count=20)

    read, written = [record.getMessage() for record in caplog.records if record.name == "toque.statements"]
    assert read.startswith("bank.read_each ran one statement 20 times with other values: SELECT")
    assert "nested view" in read
    assert written.startswith("bank.write_each ran one statement 20 times")
    assert "db.execute(statement, [row, row, ...])" in written


@pytest.mark.parametrize("operation", ["bank.read_same", "bank.read_all", "bank.open_accounts"])
async def test_what_is_no_loop_over_rows_passes(database_url: str, operation: str) -> None:
    async with running(app, database_url=database_url, strict_statements=True) as bank:
        if operation != "bank.open_accounts":
            await bank.call("bank.open_accounts", count=50)
        await bank.call(operation, count=50)


async def test_a_strict_test_fails_at_the_call_that_repeats_itself(database_url: str) -> None:
    async with running(app, database_url=database_url, strict_statements=True) as bank:
        await bank.call("bank.open_accounts", count=20)
        await bank.call("bank.read_each", count=REPEATS_MIN - 1)

        with pytest.raises(AssertionError, match=r"bank\.read_each ran one statement 5 times"):
            await bank.call("bank.read_each", count=REPEATS_MIN)
        with pytest.raises(AssertionError, match=r"bank\.read_each ran one statement 9 times"):
            await bank.get("/each?count=9")
        with pytest.raises(AssertionError, match=r"db\.execute"):
            await bank.call("bank.write_each", count=REPEATS_MIN)


async def test_the_statements_of_a_call_are_counted_although_it_began_again(database_url: str) -> None:
    async with running(app, database_url=database_url) as bank:
        await bank.call("bank.open_accounts", count=3)
        with counted(bank) as statements:
            await bank.call("bank.read_each", count=3)
        with counted(bank) as later:
            await bank.call("bank.read_each", count=3)
        await bank.call("bank.read_each", count=3)

    assert [statement.arguments[0] for statement in statements] == [0, 1, 2]
    assert [statement.context.operation for statement in later] == ["bank.read_each"] * 3


async def test_production_has_no_such_stage_unless_it_is_asked_for() -> None:
    production = AppSettings(environment="production")
    silent = Settings(app=production, http=Http(hosts=("*",)))
    told = Settings(app=production, http=Http(hosts=("*",)), database=DatabaseSettings(watch=True))

    stages = [
        {stage.name for stage in app.serve(settings).system.plans["bank.read_each"].stages}
        for settings in (silent, told)
    ]

    assert [("watch" in names) for names in stages] == [False, True]
    async with running(app, settings=silent) as bank:
        with pytest.raises(ValueError, match=r"database\.watch"), counted(bank):
            pass
