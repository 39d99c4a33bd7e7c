from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import vault_models as models
from vault import APP_ROLE, fill

from toque.store import Store, open_store
from toque.store.guard import guard_of
from toque.store.schema import create_missing
from toque.store.sql import Sql
from toque.store.sqlite import copy_file
from toque.testing.postgres import PrivatePostgres


async def build(url: str) -> None:
    """Make the vault's tables at *url*, and fill them."""
    await create_missing(url, models.VaultModel.metadata)
    store = open_store(url)
    await store.start()
    await store.command(fill)
    await store.stop()
    if url.startswith("postgresql"):
        import asyncpg

        connection = await asyncpg.connect(url)
        await connection.execute(APP_ROLE)
        await connection.close()


@pytest.fixture(scope="session")
def vault_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vault") / "vault.db"
    asyncio.run(build(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def vault_database(postgres: PrivatePostgres) -> str:
    """The name of a filled database to copy."""
    url = postgres.create_database()
    asyncio.run(build(url))
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def vault_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh vault, for its owner."""
    if request.param == "sqlite":
        copy_file(request.getfixturevalue("vault_file"), tmp_path / "vault.db")
        yield f"sqlite:///{tmp_path / 'vault.db'}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    url = server.create_database(template=request.getfixturevalue("vault_database"))
    yield url
    server.drop_database(url)


@pytest.fixture
def app_url(vault_url: str) -> str:
    """Its address for the app: on PostgreSQL as a role that owns nothing."""
    return vault_url.replace("postgres@", "toque_app@")


@pytest.fixture
async def raw(vault_url: str) -> AsyncIterator[Store]:
    """The vault as its owner sees it: with no wall on SQLite, and as the superuser on PostgreSQL."""
    store = open_store(vault_url)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def walled(app_url: str) -> AsyncIterator[Store]:
    """The vault behind the database's own wall, and no other: what the guarded compiler would do is left out."""
    store = open_store(app_url)
    store.enforce(models.VaultModel.metadata)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def both(app_url: str) -> AsyncIterator[Store]:
    """The vault behind both walls, as an app has it."""
    guard = guard_of(models.VaultModel.metadata, Sql(), [])
    store = open_store(app_url, guard=guard)
    store.enforce(models.VaultModel.metadata)
    await store.start()
    yield store
    await store.stop()
