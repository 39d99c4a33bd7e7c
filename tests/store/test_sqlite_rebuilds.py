"""What a table keeps when SQLite rebuilds it, and SQLAlchemy does not reflect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, String, Table, text

from toque.store.migrations import revision, upgrade
from toque.store.migrations.session import in_session
from toque.store.migrations.writing import differences


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


def person(*more: Any) -> MetaData:
    metadata = MetaData()
    table = Table(
        "person",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("mail", String(collation="NOCASE"), unique=True),
        Column("nick", String),
        Column("age", Integer),
        CheckConstraint("age < 200"),
        *more,
        sqlite_autoincrement=True,
    )
    Index("one_nick", table.c.nick.collate("NOCASE"), unique=True)
    Index("by_age", table.c.age.desc())
    Index("by_both", table.c.nick + table.c.mail)
    Index("by_mail", table.c.mail.collate("NOCASE"))
    return metadata


async def rebuilt(url: str, folder: Path, *statements: str) -> None:
    """Migrate to `person`, run *statements*, and migrate to one with a check, which rebuilds the table."""
    await revision(url, person(), folder, "first")
    await upgrade(url, person(), folder)
    await execute(url, *statements)
    checked = person(CheckConstraint("age > 0", name="born"))
    await revision(url, checked, folder, "checked")
    await upgrade(url, checked, folder)
    assert await differences(url, checked, folder) == []


async def execute(url: str, *statements: str) -> Any:
    def act(connection: Any) -> Any:
        with connection.begin():
            done = [connection.execute(text(statement)) for statement in statements]
            return done[-1].all() if done and done[-1].returns_rows else None

    return await in_session(url, act)


async def definitions(url: str) -> dict[str, str]:
    return dict(await execute(url, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


async def test_a_collation_is_kept(url: str, tmp_path: Path) -> None:
    """A mail address that must be unique whatever its case would else be there twice, and not be found."""
    await rebuilt(url, tmp_path / "migrations", "INSERT INTO person (mail) VALUES ('Ana@example.org')")

    assert await execute(url, "SELECT id FROM person WHERE mail = 'ana@EXAMPLE.org'") == [(1,)]
    assert 'mail VARCHAR COLLATE "NOCASE"' in (await definitions(url))["person"]


async def test_no_number_is_given_twice(url: str, tmp_path: Path) -> None:
    await rebuilt(
        url,
        tmp_path / "migrations",
        "INSERT INTO person (id, nick) VALUES (1, 'a'), (7, 'b')",
        "DELETE FROM person WHERE id = 7",
    )

    assert await execute(url, "INSERT INTO person (nick) VALUES ('c') RETURNING id") == [(8,)]


async def test_a_check_without_a_name_is_kept(url: str, tmp_path: Path) -> None:
    await rebuilt(url, tmp_path / "migrations")

    assert "CHECK (age < 200)" in (await definitions(url))["person"]


async def test_indexes_keep_their_order_their_collation_and_what_they_are_over(url: str, tmp_path: Path) -> None:
    await rebuilt(url, tmp_path / "migrations")

    kept = await definitions(url)
    assert {name: kept[name].partition(" ON ")[2] for name in ("one_nick", "by_age", "by_both", "by_mail")} == {
        "one_nick": 'person (nick COLLATE "NOCASE")',
        "by_age": "person (age DESC)",
        "by_both": "person (nick || mail)",
        "by_mail": 'person (mail COLLATE "NOCASE")',
    }
