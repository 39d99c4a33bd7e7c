"""Commands that meet: run again as a whole, until each has had its turn."""

from __future__ import annotations

import asyncio
import sqlite3
from math import inf
from typing import Any

import pytest
from kitchen_models import Account
from sqlalchemy import func, insert, select, text, update

from toque.call.context import Context
from toque.contract.errors import Unavailable
from toque.store import Store
from toque.store.attempts import ATTEMPTS_MAX
from toque.store.sqlite import SqliteStore


async def balances(store: Store) -> list[int]:
    return await store.query(lambda db: db.all(int, select(Account.balance).order_by(Account.id)))


@pytest.fixture
async def accounts(kitchen: Store) -> Store:
    await kitchen.command(lambda db: db.execute(insert(Account), [{"id": 1, "balance": 0}, {"id": 2, "balance": 0}]))
    return kitchen


async def test_deadlocks_made_on_purpose_all_succeed(accounts: Store) -> None:
    async def add(db: Any, first: int, second: int) -> None:
        if accounts.dialect_name == "postgresql":
            # PostgreSQL looks for a deadlock after a second of waiting; the test need not.
            await db.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        for account in (first, second):
            await db.execute(update(Account).where(Account.id == account).values(balance=Account.balance + 1))
            await asyncio.sleep(0.001)

    pairs = [(1, 2), (2, 1)] * 5
    await asyncio.gather(*(accounts.command(lambda db, pair=pair: add(db, *pair)) for pair in pairs))

    assert await balances(accounts) == [10, 10]
    if accounts.dialect_name == "postgresql":
        assert accounts.repeats["deadlock"] >= 1


async def test_write_skew_is_impossible_where_it_is_forbidden(accounts: Store) -> None:
    """Two doctors on call, each of whom may leave while the other stays (Cahill, Röhm, Fekete, SIGMOD 2008)."""

    async def leave(db: Any, doctor: int) -> bool:
        on_call = await db.scalar(select(func.count()).where(Account.balance == 1))
        await asyncio.sleep(0.002)
        if on_call < 2:
            return False
        await db.execute(update(Account).where(Account.id == doctor).values(balance=0))
        return True

    for _ in range(10):
        await accounts.command(lambda db: db.execute(update(Account).values(balance=1)))
        context = Context("leave", inf)
        calls = [
            accounts.command(lambda db, doctor=doctor: leave(db, doctor), context, "serializable") for doctor in (1, 2)
        ]

        assert sorted(await asyncio.gather(*calls)) == [False, True]
        assert sum(await balances(accounts)) == 1


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_many_commands_that_change_one_row_all_count(accounts: Store, isolation: Any) -> None:
    async def add(db: Any) -> None:
        balance = await db.scalar(select(Account.balance).where(Account.id == 1))
        await db.execute(update(Account).where(Account.id == 1).values(balance=balance + 1))

    await asyncio.gather(*(accounts.command(add, Context("add", inf), isolation) for _ in range(20)))

    assert (await balances(accounts))[0] == 20


async def test_each_attempt_begins_with_nothing_of_the_one_before(accounts: Store) -> None:
    """The serialisation failure is the database's own: another command changes what was read in between."""
    if accounts.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")
    handles: list[int] = []
    done: list[str] = []

    async def change(db: Any) -> int:
        handles.append(id(db))
        attempt = len(handles)
        db.after_commit(lambda: done.append(f"attempt {attempt}"))
        balance = await db.scalar(select(Account.balance).where(Account.id == 1))
        if attempt < 3:
            other = update(Account).where(Account.id == 1).values(balance=Account.balance + 10)
            await accounts.command(lambda db: db.execute(other))
        await db.execute(update(Account).where(Account.id == 1).values(balance=balance + 1))
        return balance

    assert await accounts.command(change, Context("change", inf), "repeatable read") == 20
    assert (await balances(accounts))[0] == 21
    assert done == ["attempt 3"]
    assert accounts.repeats["serialisation"] == 2


async def conflicting(store: Store, runs: list[int], context: Context, **options: Any) -> None:
    """A command that another one always gets in the way of."""

    async def change(db: Any) -> None:
        runs.append(1)
        await db.scalar(select(Account.balance).where(Account.id == 1))
        await store.command(lambda db: db.execute(update(Account).values(balance=Account.balance + 1)))
        await db.execute(update(Account).where(Account.id == 1).values(balance=0))

    await store.command(change, context, "repeatable read", **options)


async def test_attempts_are_bounded(accounts: Store) -> None:
    if accounts.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")
    runs: list[int] = []

    with pytest.raises(Unavailable, match="met another one"):
        await conflicting(accounts, runs, Context("change", inf))

    assert len(runs) == ATTEMPTS_MAX


async def test_attempts_end_with_the_deadline(accounts: Store) -> None:
    if accounts.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")
    runs: list[int] = []

    with pytest.raises(Unavailable):
        await conflicting(accounts, runs, Context.within("change", 0.0))

    assert len(runs) == 1


async def test_what_cannot_be_taken_back_is_run_once(accounts: Store) -> None:
    if accounts.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")
    runs: list[int] = []

    with pytest.raises(Unavailable):
        await conflicting(accounts, runs, Context("change", inf), is_repeatable=False)

    assert len(runs) == 1


async def test_an_error_of_the_command_itself_is_not_repeated(accounts: Store) -> None:
    runs: list[int] = []

    async def fail(db: Any) -> None:
        runs.append(await db.scalar(select(func.count()).select_from(Account)))
        raise Unavailable("the oven is cold")

    with pytest.raises(Unavailable, match="oven"):
        await accounts.command(fail)

    assert len(runs) == 1


async def test_a_read_only_anomaly_is_impossible_where_it_is_forbidden(accounts: Store) -> None:
    """Fekete, O'Neil, O'Neil, "A Read-Only Transaction Anomaly Under Snapshot Isolation" (SIGMOD Record 2004): the
    report must not show the deposit without the withdrawal's fee to come, unless the withdrawal has seen it."""
    if accounts.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: the withdrawal would wait for the deposit")
    seen = asyncio.Event()
    deposited = asyncio.Event()

    async def withdraw(db: Any) -> int:
        total = await db.scalar(select(func.sum(Account.balance)))
        seen.set()
        await deposited.wait()
        fee = 1 if total < 10 else 0
        await db.execute(update(Account).where(Account.id == 1).values(balance=Account.balance - 10 - fee))
        return fee

    async def deposit(db: Any) -> None:
        await db.execute(update(Account).where(Account.id == 2).values(balance=Account.balance + 20))

    withdrawal = asyncio.ensure_future(accounts.command(withdraw, Context("withdraw", inf), "serializable"))
    await seen.wait()
    await accounts.command(deposit, Context("deposit", inf), "serializable")
    report = await accounts.query(
        lambda db: db.all(int, select(Account.balance).order_by(Account.id)), Context("report", inf), "serializable"
    )
    deposited.set()
    fee = await withdrawal

    assert report == [0, 20]
    # The report has seen the deposit and no withdrawal, so the withdrawal comes after both and costs no fee.
    assert fee == 0


async def test_a_batch_that_sqlite_undid_is_run_again(kitchen: Store) -> None:
    """SQLite rolls back the whole transaction on some errors; here another connection makes it do so."""
    if not isinstance(kitchen, SqliteStore):
        pytest.skip("SQLite's own batch")
    runs: list[int] = []

    async def add(db: Any) -> None:
        runs.append(1)
        await db.execute(insert(Account).values(id=7, balance=1))
        if len(runs) == 1:
            with pytest.raises(Exception, match=r"constraint|rule"):
                # OR ROLLBACK: the conflict undoes the transaction, not the statement (sqlite.org/lang_conflict.html).
                await db.execute(text("INSERT OR ROLLBACK INTO account VALUES (7, 2)"))
            raise ValueError("the command noticed")

    with pytest.raises(ValueError, match="noticed"):
        await kitchen.command(add)
    assert await balances(kitchen) == []

    async def lose(db: Any) -> None:
        runs.append(1)
        await db.execute(insert(Account).values(id=7, balance=1))
        if len(runs) == 2:
            kitchen.writer._give(lambda: _roll_back(kitchen))
        await db.execute(insert(Account).values(id=8, balance=1))

    def _roll_back(store: SqliteStore) -> None:
        store.writer._batch.connection.execute("ROLLBACK")
        holder = store.writer._holder
        assert holder is not None
        store.writer._batch.recover(holder)

    await kitchen.command(lose)

    assert len(runs) == 3
    assert await balances(kitchen) == [1, 1]
    assert kitchen.repeats == {"undone": 1}


async def test_another_process_that_holds_the_file_is_waited_for(
    kitchen: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(kitchen, SqliteStore):
        pytest.skip("SQLite's own lock")
    monkeypatch.setattr("toque.store.sqlite_batch.BUSY_TIMEOUT_S", 0.0)
    other = sqlite3.connect(kitchen.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    adding = asyncio.ensure_future(kitchen.command(lambda db: db.execute(insert(Account).values(id=1, balance=1))))
    while not kitchen.repeats["busy"]:
        await asyncio.sleep(0.001)
    other.execute("COMMIT")
    other.close()

    await adding

    assert await balances(kitchen) == [1]
