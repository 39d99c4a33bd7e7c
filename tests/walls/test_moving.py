"""Whole databases with sensitive tables, moved by the owner, whom their rules hold too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from vault import owned
from vault_models import VaultModel

from toque.store.moving.backup import backup, restore
from toque.store.moving.copy import copy
from toque.store.moving.site import MovingError
from toque.testing.postgres import PrivatePostgres

on_postgres = pytest.mark.parametrize("vault_url", ["postgresql"], indirect=True)


async def ask(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


NOTES = "SELECT id, tenant, author, text FROM note ORDER BY id"
FORCED = "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relrowsecurity ORDER BY 1"


@pytest.fixture
async def elsewhere(vault_url: str, postgres: PrivatePostgres) -> Any:
    """An empty database, for its owner and for the superuser."""
    url = postgres.create_database()
    yield await owned(url), url
    postgres.drop_database(url)


@on_postgres
async def test_a_copy_brings_every_row_and_the_rules(vault_url: str, elsewhere: Any, tmp_path: Path) -> None:
    target, as_superuser = elsewhere

    result = await copy(await owned(vault_url), target, VaultModel.metadata, tmp_path)

    assert result.rows["note"] == 8
    assert await ask(as_superuser, NOTES) == await ask(vault_url, NOTES)
    assert await ask(as_superuser, FORCED) == await ask(vault_url, FORCED) != []
    assert await ask(target, NOTES) == []


@on_postgres
async def test_a_copy_into_sqlite_and_back_loses_nothing(vault_url: str, elsewhere: Any, tmp_path: Path) -> None:
    target, as_superuser = elsewhere
    file = f"sqlite:///{tmp_path / 'vault.db'}"

    await copy(await owned(vault_url), file, VaultModel.metadata, tmp_path)
    await copy(file, target, VaultModel.metadata, tmp_path)

    assert await ask(as_superuser, NOTES) == await ask(vault_url, NOTES)


@on_postgres
async def test_a_backup_keeps_every_row_and_a_restore_brings_it_back(
    vault_url: str, elsewhere: Any, tmp_path: Path
) -> None:
    target, as_superuser = elsewhere
    source = await owned(vault_url)

    kept = await backup(source, tmp_path / "vault.zip", app="vault", app_version="1")
    await restore(target, tmp_path / "vault.zip", VaultModel.metadata, tmp_path)

    assert kept.tables["note"] == 8
    assert await ask(as_superuser, NOTES) == await ask(vault_url, NOTES)
    assert await ask(as_superuser, FORCED) == await ask(vault_url, FORCED) != []
    # A database with rows is seen to have some, though its owner sees none.
    with pytest.raises(MovingError, match=r"the database has rows, in diary, .*note"):
        await restore(source, tmp_path / "vault.zip", VaultModel.metadata, tmp_path)
    await restore(source, tmp_path / "vault.zip", VaultModel.metadata, tmp_path, replace=True)
    assert len(await ask(vault_url, NOTES)) == 8


@on_postgres
@pytest.mark.parametrize(
    "strange",
    [
        "ALTER TABLE topic ENABLE ROW LEVEL SECURITY; ALTER TABLE topic FORCE ROW LEVEL SECURITY",
        "CREATE POLICY narrow ON note AS RESTRICTIVE USING (id = 1)",
    ],
)
async def test_a_backup_that_might_lack_rows_is_refused(vault_url: str, tmp_path: Path, strange: str) -> None:
    source = await owned(vault_url)
    connection = await asyncpg.connect(vault_url)
    await connection.execute(strange)
    await connection.close()

    with pytest.raises(MovingError, match=r"row level security that is not the models' may keep rows of (topic|note)"):
        await backup(source, tmp_path / "vault.zip", app="vault", app_version="1")
