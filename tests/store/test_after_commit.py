# ruff: noqa: PT012 - a savepoint is a block, and what fails lies in it
"""`db.after_commit(...)`: once, after the commit, never after a rollback, and without a say in the outcome."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from kitchen_models import Tag
from sqlalchemy import func, insert, select

from toque.store import Store
from toque.store.after_commit import WAITING_MAX


def count(store: Store) -> Any:
    return store.query(lambda db: db.scalar(select(func.count()).select_from(Tag)))


async def test_it_runs_when_others_see_the_change_and_before_the_answer(kitchen: Store) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append(await count(kitchen))

    async def add(db: Any) -> str:
        db.after_commit(look)
        db.after_commit(lambda: seen.append("plain"))
        await db.execute(insert(Tag).values(word="new"))
        return "answer"

    assert await kitchen.command(add) == "answer"
    assert seen == [3, "plain"]


async def test_it_never_runs_after_a_rollback(kitchen: Store) -> None:
    seen: list[str] = []

    async def fail(db: Any) -> None:
        await db.execute(insert(Tag).values(word="new"))
        db.after_commit(lambda: seen.append("ran"))
        raise LookupError

    with pytest.raises(LookupError):
        await kitchen.command(fail)

    assert seen == []


async def test_it_never_runs_for_a_savepoint_that_was_undone(kitchen: Store) -> None:
    seen: list[str] = []

    async def add(db: Any) -> None:
        db.after_commit(lambda: seen.append("before"))
        with pytest.raises(LookupError):
            async with db.savepoint():
                db.after_commit(lambda: seen.append("undone"))
                raise LookupError
        async with db.savepoint():
            db.after_commit(lambda: seen.append("kept"))

    await kitchen.command(add)

    assert seen == ["before", "kept"]


async def test_its_failure_is_logged_and_changes_nothing(kitchen: Store, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def fail() -> None:
        raise OSError("the printer is out of paper")

    async def add(db: Any) -> str:
        await db.execute(insert(Tag).values(word="new"))
        db.after_commit(fail)
        db.after_commit(lambda: seen.append("the next one"))
        return "answer"

    with caplog.at_level(logging.ERROR, "toque.store"):
        assert await kitchen.command(add) == "answer"

    assert seen == ["the next one"]
    assert "out of paper" in caplog.text
    assert await count(kitchen) == 3


async def test_it_holds_no_connection(kitchen: Store) -> None:
    async def add(db: Any, word: str) -> None:
        await db.execute(insert(Tag).values(word=word))
        db.after_commit(lambda: count(kitchen))

    # More than there are connections: if one were held, these would wait for each other for ever.
    async with asyncio.timeout(20):
        await asyncio.gather(*(kitchen.command(lambda db, i=i: add(db, f"w{i}")) for i in range(30)))

    assert await count(kitchen) == 32


async def test_a_query_has_no_commit(kitchen: Store) -> None:
    async def read(db: Any) -> None:
        db.after_commit(lambda: None)

    with pytest.raises(PermissionError, match="only reads"):
        await kitchen.query(read)


async def test_how_many_may_wait_is_bounded(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        for _ in range(WAITING_MAX + 1):
            db.after_commit(lambda: None)

    with pytest.raises(RuntimeError, match="let one of them do for all rows"):
        await kitchen.command(add)
