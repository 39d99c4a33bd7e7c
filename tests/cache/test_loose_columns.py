"""A column of the database that takes more for equal than its model knows: nothing about another column follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import MetaData, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, public
from toque.store.models import NAMES, Conventions
from toque.testing import running
from toque.testing.postgres import PrivatePostgres


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Tag(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(index=True)


class Note(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]


def _app() -> App:
    app = App("notes", metadata=Base.metadata)

    @app.query("/tags", allow=public)
    async def tags(label: str, db: Database) -> list[int]:
        joined = select(Tag.id).join(Note, Note.label == Tag.word)
        return await db.all(int, joined.where(Note.label == label).order_by(Tag.id))

    @app.command("/tags", allow=public)
    async def add_tag(id: int, word: str, db: Database) -> None:
        await db.execute(insert(Tag).values(id=id, word=word))

    return app


@pytest.fixture
def folding() -> Iterator[PrivatePostgres]:
    """A server with ICU's collations. The wheel is built without; a distribution's server has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL with ICU is installed")
    server = PrivatePostgres(programs=found[-1].parent)
    server.start()
    yield server
    server.stop()


async def test_a_row_that_is_joined_by_a_looser_equality_is_seen(folding: PrivatePostgres) -> None:
    """What was written in other letters was taken for what cannot be joined."""
    url = folding.create_database()
    async with running(_app(), database_url=url) as harness:
        await _run(
            url,
            "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
            "ALTER TABLE note ALTER COLUMN label TYPE varchar COLLATE folded; INSERT INTO note VALUES (1, 'Foo')",
        )

        async def tags() -> list[int]:
            answer = await harness.get("/tags?label=foo", headers={"cache-control": "no-cache"})
            found: list[int] = answer.json()
            return found

        assert [await tags() for _ in range(3)] == [[], [], []]

        await harness.call("notes.add_tag", id=1, word="FOO")

        assert await tags() == [1]


async def _run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
