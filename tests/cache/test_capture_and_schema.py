"""A schema that changes is not held up by capture, and makes no write fail because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Index, Integer, MetaData, String, Table

from toque.cache.capture import faults, install
from toque.cache.change import ANY_TABLE, Change
from toque.cache.changes import changes_of
from toque.store import open_store
from toque.store.migrations import Steps, Way, downgrade, revision, upgrade
from toque.store.migrations.questions import Questions
from toque.store.models import NAMES
from toque.store.schema import create_missing, with_connection

on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def pots(*columns: Column[Any], key: str | None = None) -> MetaData:
    metadata = MetaData(naming_convention=NAMES)
    table = Table("pot", metadata, Column("id", Integer, primary_key=True), *columns)
    if key is not None:
        Index(f"pot_{key}", table.c[key])
    return metadata


def by_shelf() -> MetaData:
    return pots(Column("shelf", Integer), Column("name", String(20)), key="shelf")


def by_place() -> MetaData:
    return pots(Column("place", Integer), Column("name", String(20)), key="place")


def without_shelf() -> MetaData:
    return pots(Column("name", String(20)))


def shelved_by_text() -> MetaData:
    return pots(Column("shelf", String(9)), Column("name", String(20)), key="shelf")


async def _run(url: str, act: Callable[[Connection], Any]) -> Any:
    return await asyncio.to_thread(with_connection, url, act)


async def _do(url: str, *texts: str) -> None:
    def act(connection: Connection) -> None:
        for each in texts:
            connection.exec_driver_sql(each)

    await _run(url, act)


def _tables(metadata: MetaData) -> list[Table]:
    return list(metadata.sorted_tables)


async def _told(url: str, metadata: MetaData, *texts: str) -> list[Change]:
    store = open_store(url)
    await store.start()
    try:
        changes = changes_of(store, _tables(metadata))
        before = await changes.look(None)
        await _do(url, *texts)
        return list((await changes.look(before.snapshot)).changes)
    finally:
        await store.stop()


def _what(changes: Sequence[Change]) -> list[tuple[str, object]]:
    return [(each.table, each.images) for each in changes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


THEN: dict[str, tuple[Callable[[], MetaData], dict[str, Any], str]] = {
    "dropped": (without_shelf, {}, "INSERT INTO pot (id, name) VALUES (7, 'jug')"),
    "renamed": (by_place, {"renames": ["pot.shelf=place"]}, "INSERT INTO pot (id, place) VALUES (7, 7)"),
    "retyped": (shelved_by_text, {}, "INSERT INTO pot (id, shelf) VALUES (7, 'a')"),
}


@pytest.mark.parametrize("what", THEN)
async def test_a_migration_of_a_captured_column(database_url: str, folder: Path, what: str) -> None:
    then, answers, insert = THEN[what]
    await revision(database_url, by_shelf(), folder, "first")
    await upgrade(database_url, by_shelf(), folder)
    await install(database_url, _tables(by_shelf()))
    await _do(database_url, "INSERT INTO pot (id, shelf) VALUES (1, 1)")
    await revision(database_url, then(), folder, "then", Questions(**answers))

    await upgrade(database_url, then(), folder)
    await _do(database_url, insert.replace("7", "8"))  # Before anybody has captured again, as if he had been killed.
    await install(database_url, _tables(then()))

    assert await faults(database_url, _tables(then())) == {}
    (told,) = await _told(database_url, then(), insert)
    assert told.images is not None
    assert [image["id"] for image in told.images] == [7]


async def test_a_way_back_leaves_writes_alone(database_url: str, folder: Path) -> None:
    await revision(database_url, without_shelf(), folder, "first")
    await upgrade(database_url, without_shelf(), folder)
    await revision(database_url, by_shelf(), folder, "then", Questions())
    await upgrade(database_url, by_shelf(), folder)
    await install(database_url, _tables(by_shelf()))

    await downgrade(database_url, by_shelf(), folder, Steps(folder).revisions[0], Way(may_lose=True))
    # Whoever went back still has the models of the later release.
    await install(database_url, _tables(by_shelf()))
    await _do(database_url, "INSERT INTO pot (id, name) VALUES (1, 'jug')")

    assert "pot" in await faults(database_url, _tables(by_shelf()))
    await install(database_url, _tables(without_shelf()))
    assert await faults(database_url, _tables(without_shelf())) == {}


@on_sqlite
async def test_a_step_that_fails_on_sqlite_leaves_capture_up(database_url: str, folder: Path) -> None:
    await revision(database_url, by_shelf(), folder, "first")
    await upgrade(database_url, by_shelf(), folder)
    await install(database_url, _tables(by_shelf()))
    await revision(database_url, without_shelf(), folder, "then", Questions())
    file = next(iter(sorted((folder / "versions").glob("*then*.py"))))
    text = file.read_text()
    file.write_text(text.replace("def downgrade", "    op.execute('no SQL')\n\n\ndef downgrade", 1))

    with pytest.raises(Exception, match="syntax error"):
        await upgrade(database_url, without_shelf(), folder)
    assert await faults(database_url, _tables(by_shelf())) == {}

    file.write_text(text)
    await upgrade(database_url, without_shelf(), folder)
    assert await faults(database_url, _tables(without_shelf())) == {
        "pot": ["it has not the triggers that capture its changes"]
    }


@on_postgres
async def test_a_migration_on_postgres_says_that_nothing_is_known(database_url: str, folder: Path) -> None:
    await revision(database_url, by_shelf(), folder, "first")
    await upgrade(database_url, by_shelf(), folder)
    await install(database_url, _tables(by_shelf()))
    # Event triggers are for superusers; without one the step itself has to tell.
    await _do(database_url, "DROP EVENT TRIGGER toque_change_ddl")
    await revision(database_url, by_place(), folder, "then", Questions(["pot.shelf=place"]))
    store = open_store(database_url)
    await store.start()
    try:
        changes = changes_of(store, _tables(by_shelf()))
        before = await changes.look(None)
        await upgrade(database_url, by_place(), folder)
        assert (ANY_TABLE, None) in _what((await changes.look(before.snapshot)).changes)
    finally:
        await store.stop()


BY_HAND = {
    "dropped": ("ALTER TABLE pot DROP COLUMN shelf", "INSERT INTO pot (id, name) VALUES (7, 'jug')"),
    "renamed": ("ALTER TABLE pot RENAME COLUMN shelf TO place", "INSERT INTO pot (id, place) VALUES (7, 7)"),
    "dropped before an update": ("ALTER TABLE pot DROP COLUMN shelf", "UPDATE pot SET name = 'cup'"),
    "dropped before a delete": ("ALTER TABLE pot DROP COLUMN shelf", "DELETE FROM pot"),
}


@on_postgres
@pytest.mark.parametrize("what", BY_HAND)
async def test_who_changes_a_captured_column_by_hand_can_write(database_url: str, what: str) -> None:
    import asyncpg  # type: ignore[import-untyped]

    alter, write = BY_HAND[what]
    await create_missing(database_url, by_shelf())
    await install(database_url, _tables(by_shelf()))
    other = await asyncpg.connect(database_url)  # It has the plans of before.
    try:
        await other.execute("INSERT INTO pot (id, shelf, name) VALUES (1, 1, 'pan')")
        await other.execute("UPDATE pot SET name = 'pot'")
        store = open_store(database_url)
        await store.start()
        changes = changes_of(store, _tables(by_shelf()))
        before = await changes.look(None)
        await _do(database_url, alter)
        altered = await changes.look(before.snapshot)
        await other.execute(write)
        written = await changes.look(altered.snapshot)
        await store.stop()
        # By the one all that was kept is forgotten, and by the other what has come since.
        assert altered.epoch != before.epoch
        assert [each.table for each in written.changes] == ["pot"]
    finally:
        await other.close()
    assert "pot" in await faults(database_url, _tables(by_shelf()))


@on_postgres
async def test_who_gives_a_captured_column_another_type_can_write(database_url: str) -> None:
    await create_missing(database_url, by_shelf())
    await install(database_url, _tables(by_shelf()))
    await _do(
        database_url,
        "INSERT INTO pot (id, shelf) VALUES (1, 1)",
        "ALTER TABLE pot ALTER shelf TYPE int[] USING ARRAY[shelf]",
        "INSERT INTO pot (id, shelf) VALUES (2, ARRAY[1])",
    )

    assert "shelf is _int4 there" in (await faults(database_url, _tables(by_shelf())))["pot"][0]


@on_postgres
async def test_functions_of_earlier_triggers_are_dropped(database_url: str) -> None:
    def functions(connection: Connection) -> int:
        asked = "SELECT count(*) FROM pg_proc WHERE proname ~ '^capture_[0-9a-f]{12}'"
        return int(connection.exec_driver_sql(asked).scalar_one())

    await create_missing(database_url, by_shelf())
    await install(database_url, _tables(by_shelf()))
    await install(database_url, _tables(without_shelf()))

    assert await _run(database_url, functions) == len(("insert", "update", "delete", "truncate"))
