"""A database restored from a backup has the log that it had, and whoever reads it goes on: nothing lost, nothing twice."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import MetaData
from test_log_reading import everything, numbers, publish

from toque.log.reader import reader_of
from toque.messages.tables import lay_out
from toque.store import Store, open_store
from toque.store.moving.backup import backup, restore
from toque.testing.postgres import PrivatePostgres

HERE = Path(__file__).parent


async def test_readers_go_on_in_a_restored_database(store: Store, tmp_path: Path) -> None:
    await reader_of(store).begin()
    await publish(store, *range(5))
    entries, cursor = await reader_of(store).read(await reader_of(store).since(0.0), 3)
    kept = [entry.id for entry in (await everything(reader_of(store)))[0]]
    await backup(store.url, tmp_path / "kept.zip", app="a", app_version="1")
    await publish(store, 5, 6)  # After the backup: gone with the database.
    if store.dialect_name == "sqlite":
        await _goes_on(f"sqlite:///{tmp_path / 'elsewhere.db'}", tmp_path, cursor, kept)
        return
    # Into the same cluster, whose transactions are counted on, and into another one, which counts anew.
    other = PrivatePostgres()
    other.start()
    try:
        for url in (other.create_database(), store.url):
            await _goes_on(url, tmp_path, cursor, kept)
    finally:
        other.stop()
    assert numbers(list(entries)) == [0, 1, 2]


async def _goes_on(url: str, folder: Path, cursor: object, kept: list[object]) -> None:
    await restore(url, folder / "kept.zip", MetaData(), folder, replace=True, lay_out=lay_out)
    restored = open_store(url)
    await restored.start()
    try:
        reader = reader_of(restored)
        await reader.begin()
        await publish(restored, 7, 8)
        found, after = await everything(reader, cursor)  # type: ignore[arg-type]
        assert numbers(found) == [3, 4, 7, 8]
        assert (await everything(reader, after))[0] == []
        assert [entry.id for entry in (await everything(reader))[0]][:5] == kept
    finally:
        await restored.stop()
