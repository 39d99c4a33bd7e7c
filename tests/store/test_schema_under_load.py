"""A schema that changes under running code: stale plans are made anew, and no call fails for them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from kitchen_models import Account
from sqlalchemy import BigInteger, Integer, Text, column, insert, select, table, text, update

from toque.store import Store
from toque.store.postgres import PostgresStore

# Its columns as the test changes them; a view needs no more of them than their names.
account = table("account", column("id", Integer), column("balance", BigInteger))


tag = table("tag", column("id", Integer), column("word", Text))


class TagView(msgspec.Struct):
    id: int
    word: str


class AccountView(msgspec.Struct):
    id: int
    balance: int


CHANGES = [f"ALTER TABLE account ALTER COLUMN balance TYPE {kind}" for kind in ("bigint", "numeric", "integer")] + [
    "ALTER TABLE account ADD COLUMN note text",
    "ALTER TABLE account DROP COLUMN note",
]


@pytest.fixture
async def accounts(kitchen: Store) -> PostgresStore:
    if not isinstance(kitchen, PostgresStore):
        pytest.skip("SQLite prepares again by itself (sqlite3_prepare_v2)")
    await kitchen.command(lambda db: db.execute(insert(Account), [{"id": i, "balance": 0} for i in range(1, 6)]))
    return kitchen


async def read_twice(db: Any) -> int:
    found = await db.all(AccountView, select(account).order_by(account.c.id))
    return int((await db.one(AccountView, select(account).where(account.c.id == found[0].id))).balance)


async def change_one(db: Any) -> int:
    found = await db.one(AccountView, select(account).where(account.c.id == 1))
    new = update(account).where(account.c.id == 1).values(balance=account.c.balance + 1).returning(account)
    assert (await db.one(AccountView, new)).balance == found.balance + 1
    return 1


async def stream(db: Any) -> int:
    return sum([int(each.balance) async for each in db.stream(AccountView, select(account))])


@pytest.mark.parametrize("work", ["query", "command", "stream"])
async def test_a_stale_plan_is_made_anew(accounts: PostgresStore, work: str) -> None:
    run = {"query": read_twice, "command": change_one, "stream": stream}[work]
    act = accounts.command if work == "command" else accounts.query
    for change in CHANGES:
        await act(run)
        await accounts.command(lambda db, change=change: db.execute(text(change)))
        await act(run)

    if work == "command":
        assert accounts.repeats["schema changed"] >= 1


# Changes that rewrite a table empty it for whoever began before (PostgreSQL's manual, 13.6 "Caveats"), so under load it
# is changes that rewrite nothing; each makes every plan that reads the column stale.
LIGHT_CHANGES = [f"ALTER TABLE tag ALTER COLUMN word TYPE {kind}" for kind in ("text", "varchar")]


async def read_words(db: Any) -> None:
    first, *_ = await db.all(TagView, select(tag).order_by(tag.c.id))
    assert (await db.one(TagView, select(tag).where(tag.c.id == first.id))).word == first.word


async def stream_words(db: Any) -> None:
    assert [each.id async for each in db.stream(TagView, select(tag).order_by(tag.c.id))] == [1, 2]


async def lengthen(db: Any) -> None:
    found = await db.one(TagView, select(tag).where(tag.c.id == 1))
    longer = update(tag).where(tag.c.id == 1).values(word=tag.c.word + "x").returning(tag)
    assert (await db.one(TagView, longer)).word == f"{found.word}x"


async def test_no_call_fails_while_a_table_is_altered_under_load(accounts: PostgresStore) -> None:
    is_over = False

    async def work(act: Any, run: Any) -> int:
        calls = 0
        while not is_over:
            await act(run)
            calls += 1
        return calls

    async def change() -> None:
        nonlocal is_over
        for _ in range(15):
            for statement in LIGHT_CHANGES:
                await asyncio.sleep(0.02)
                await accounts.command(lambda db, statement=statement: db.execute(text(statement)))
        is_over = True

    lengthened, *others, _ = await asyncio.gather(
        work(accounts.command, lengthen),
        *(work(accounts.query, run) for run in (read_words, stream_words) * 3),
        change(),
    )

    assert min(lengthened, *others) > 5
    assert accounts.repeats["schema changed"] >= 1
    word = await accounts.query(lambda db: db.scalar(select(tag.c.word).where(tag.c.id == 1)))
    assert word == "hot" + "x" * lengthened
