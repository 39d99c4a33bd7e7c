"""From models to tables, and from one shape of the tables to the next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kitchen_models import KitchenModel, Tag
from sqlalchemy import Column, Connection, Integer, MetaData, insert, select

from toque.contract.errors import Unavailable
from toque.store import open_store
from toque.store.migrations import current, pending, revision, upgrade
from toque.store.migrations.session import in_session
from toque.store.schema import SchemaDrift, create_missing, lacking, with_connection
from toque.testing.postgres import PrivatePostgres


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


def grown() -> MetaData:
    """The models with one more column."""
    metadata = MetaData(naming_convention=KitchenModel.metadata.naming_convention)
    for table in KitchenModel.metadata.sorted_tables:
        table.to_metadata(metadata)
    metadata.tables["tag"].append_column(Column("rank", Integer))
    return metadata


async def test_a_new_app_just_starts(database_url: str) -> None:
    created = await create_missing(database_url, KitchenModel.metadata)

    assert {*created} == {*KitchenModel.metadata.tables}
    assert await create_missing(database_url, KitchenModel.metadata) == []


async def test_workers_that_start_together_make_the_tables_once(database_url: str) -> None:
    created = await asyncio.gather(*(create_missing(database_url, KitchenModel.metadata) for _ in range(4)))

    assert sorted(map(len, created)) == [0, 0, 0, len(KitchenModel.metadata.tables)]


async def test_an_address_may_say_how_it_is_encrypted(postgres: PrivatePostgres, folder: Path) -> None:
    """As those of managed servers do; SQLAlchemy takes `sslmode` for an argument of the driver."""
    url = f"{postgres.create_database()}&sslmode=disable"

    assert await revision(url, KitchenModel.metadata, folder, "first tables")
    await upgrade(url, KitchenModel.metadata, folder)
    assert await create_missing(url, KitchenModel.metadata) == []
    assert await lacking(url, KitchenModel.metadata) == []


async def test_a_server_that_stops_meanwhile_is_told_in_words(postgres: PrivatePostgres) -> None:
    """Starting and migrating ended in a traceback of the driver's."""

    def be_ended(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    url = postgres.create_database()
    told = r"the database cannot be reached: .*terminating"

    with pytest.raises(Unavailable, match=told):
        await asyncio.to_thread(with_connection, url, be_ended)
    with pytest.raises(Unavailable, match=told):
        await in_session(url, be_ended)


async def test_drift_is_told_with_the_remedy(database_url: str) -> None:
    await create_missing(database_url, KitchenModel.metadata)

    with pytest.raises(SchemaDrift, match=r"table 'tag' lacks column 'rank'.*toque db revision"):
        await create_missing(database_url, grown())


async def test_steps_are_written_run_and_known(database_url: str, folder: Path) -> None:
    first = await revision(database_url, KitchenModel.metadata, folder, "first tables")
    assert len(first) == 1
    assert await current(database_url) is None
    assert len(await pending(database_url, folder)) == 1

    outcome = await upgrade(database_url, KitchenModel.metadata, folder)
    assert await current(database_url) == outcome.ran[0]
    assert await pending(database_url, folder) == []
    assert await create_missing(database_url, KitchenModel.metadata) == []
    assert await revision(database_url, KitchenModel.metadata, folder, "nothing") == []

    second = await revision(database_url, grown(), folder, "rank of a tag")
    assert len(second) == 1
    assert "rank" in second[0].read_text()
    assert len((await upgrade(database_url, grown(), folder)).ran) == 1


async def test_migrated_tables_take_the_models_statements(database_url: str, folder: Path) -> None:
    await revision(database_url, KitchenModel.metadata, folder, "first")
    await upgrade(database_url, KitchenModel.metadata, folder)
    store = open_store(database_url)
    await store.start()

    await store.command(lambda db: db.execute(insert(Tag).values(word="migrated")))
    assert await store.query(lambda db: db.scalar(select(Tag.word))) == "migrated"
    await store.stop()


async def test_a_development_database_is_taken_over(database_url: str, folder: Path) -> None:
    await create_missing(database_url, KitchenModel.metadata)
    written: Any = await revision(database_url, KitchenModel.metadata, folder, "first")

    assert (await upgrade(database_url, KitchenModel.metadata, folder)).ran == ()
    assert (await current(database_url) or "none") in written[0].name


async def test_a_database_of_another_shape_is_not_taken_over(database_url: str, folder: Path) -> None:
    await create_missing(database_url, KitchenModel.metadata)
    await revision(database_url, grown(), folder, "first")

    with pytest.raises(SchemaDrift, match="no migrations"):
        await upgrade(database_url, grown(), folder)
