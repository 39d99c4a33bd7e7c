"""What an operation's declaration means for its transaction, from the app down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kitchen_models import Account, KitchenModel
from sqlalchemy import insert, select, text, update

from toque import AllRows, App, Database, File, public
from toque.contract.errors import Unavailable
from toque.testing import Harness, running

app = App("once", metadata=KitchenModel.metadata)
runs: list[str] = []
harness: Harness


async def meet(db: Database, name: str) -> int:
    """Read, let another command change what was read, and change it: a serialisation failure, but for the last time."""
    runs.append(name)
    balance = await db.scalar(select(Account.balance))
    if len(runs) < 3:
        await harness.call("once.disturb")
    await db.execute(update(Account).values(balance=balance + 1))
    return len(runs)


@app.command(allow=public)
async def disturb(db: Database) -> None:
    await db.execute(update(Account).values(balance=Account.balance + 10))


@app.command(allow=public, isolation="repeatable read")
async def repeated(db: Database) -> int:
    return await meet(db, "repeated")


@app.command(allow=public, isolation="repeatable read", has_outside_effects=True)
async def outside(db: Database) -> int:
    return await meet(db, "outside")


@app.command(allow=public, isolation="repeatable read")
async def streamed(db: Database) -> AsyncIterator[int]:
    yield 1
    yield await meet(db, "streamed")


@app.command("/uploaded", allow=public, isolation="repeatable read")
async def uploaded(file: File, db: Database) -> int:
    return await meet(db, "uploaded")


@app.query(allow=public)
async def items_and_more(db: Database) -> AsyncIterator[int]:
    """What it sends before its second statement it must not send again."""
    for balance in await db.all(int, select(Account.balance)):
        yield balance
    yield await db.scalar(select(Account.id))


@app.command("/late", allow=public, deadline_s=0.3)
async def late(db: Database) -> int:
    db.after_commit(asyncio.Event().wait)
    return await db.execute(update(Account).values(balance=5))


@app.query(allow=public)
async def balance(db: Database) -> int:
    return await db.scalar(select(Account.balance))  # type: ignore[no-any-return]


@app.query(allow=public, isolation="serializable")
async def strict(db: AllRows) -> str:
    return await db.scalar(text("SHOW transaction_isolation"))  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
async def served(database_url: str) -> AsyncIterator[Harness]:
    global harness
    runs.clear()
    async with running(app, database_url=database_url) as harness:
        store = harness.serving.system.store
        assert store is not None
        await store.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))
        yield harness


def only_on_postgresql(served: Harness) -> None:
    store: Any = served.serving.system.store
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")


async def test_a_command_that_met_another_one_is_run_again(served: Harness) -> None:
    only_on_postgresql(served)

    assert await served.call("once.repeated") == 3
    assert await served.call("once.balance") == 21


@pytest.mark.parametrize("name", ["outside", "streamed"])
async def test_what_leaves_before_its_end_is_run_once(served: Harness, name: str) -> None:
    only_on_postgresql(served)

    with pytest.raises(Unavailable):
        await served.call(f"once.{name}")

    assert runs == [name]
    assert await served.call("once.balance") == 10


async def test_an_upload_is_read_once(served: Harness) -> None:
    only_on_postgresql(served)
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
    answer = await served.post("/uploaded", content=body, headers={"content-type": "multipart/form-data; boundary=x"})

    assert (answer.status, answer.json()["code"]) == (503, "unavailable")
    assert runs == ["uploaded"]


async def test_a_streamed_query_sends_nothing_twice(served: Harness) -> None:
    assert await served.call("once.items_and_more") == [0, 1]


async def test_what_waits_for_the_commit_cannot_fail_the_answer(served: Harness) -> None:
    answer = await served.post("/late")

    assert (answer.status, answer.json()) == (200, 1)
    assert await served.call("once.balance") == 5


async def test_a_query_has_the_isolation_that_it_asks_for(served: Harness) -> None:
    only_on_postgresql(served)

    assert await served.call("once.strict") == "serializable"
