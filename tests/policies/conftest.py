"""The archive on both databases, filled once; a store on it for every test, and what a test does is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import archive_models as models
import pytest

from toque.store import Database, Store, open_store
from toque.store.guard import Guard, guard_of
from toque.store.schema import create_missing
from toque.store.sql import Sql
from toque.testing.postgres import PrivatePostgres


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def archive_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('archive') / Path('archive.db')}"
        asyncio.run(_fill(url))
        yield url
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    url = server.create_database()
    asyncio.run(_fill(url))
    yield url
    server.drop_database(url)


async def _fill(url: str) -> None:
    await create_missing(url, models.Base.metadata)
    store = open_store(url)
    await store.start()

    async def fill(db: Database) -> None:
        for statement, rows in models.DATA:
            await db.execute(statement, rows)

    await store.command(fill)
    await store.stop()


@pytest.fixture(scope="session")
def guard() -> Guard:
    wrong: list[Any] = []
    made = guard_of(models.Base.metadata, Sql(), wrong)
    assert made is not None
    assert not wrong
    return made


@pytest.fixture
async def archive(archive_url: str, guard: Guard) -> AsyncIterator[Store]:
    store = open_store(archive_url, guard=guard)
    await store.start()
    yield store
    await store.stop()
