"""`toque db upgrade` and what is told of changes: put up, through every migration, also after one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Toque, write
from sqlalchemy import Connection

from toque.store.schema import with_connection

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Pot(Base):
    __tablename__ = "pot"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
"""
SHELF = "    shelf: Mapped[int | None] = mapped_column(index=True)\n"
GLAZE = "    glaze: Mapped[str | None]\n"

APP = """
from sqlalchemy import func, select

from models import Base, Pot
from toque import App, Database, public
from toque.store.rows import SHARED, declare

for table in Base.metadata.tables.values():
    declare(table, SHARED)
app = App("pottery", metadata=Base.metadata)


@app.query("/count", allow=public)
async def count(db: Database) -> int:
    return await db.scalar(select(func.count()).select_from(Pot))
"""

TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'toque_change_%'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'toque_change_%'",
}


def _do(url: str, statement: str) -> list[str]:
    def act(connection: Connection) -> list[str]:
        done = connection.exec_driver_sql(statement)
        return list(done.scalars()) if done.returns_rows else []

    return with_connection(url, act)


def _triggers(url: str) -> int:
    return len(_do(url, TRIGGERS["sqlite" if url.startswith("sqlite") else "postgresql"]))


def test_capture_goes_through_migrations(
    toque: Toque, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOQUE_DATABASE_URL", database_url)
    write(tmp_path, {"app.py": APP, "models.py": MODELS + SHELF})

    assert toque("db", "revision", "-m", "pots").code == 0
    said = toque("db", "upgrade")
    assert (said.code, "changes of pot are told of" in said.out) == (0, True)
    up = _triggers(database_url)
    assert up > 0
    said = toque("db", "upgrade")
    assert (said.code, "told of" in said.out) == (0, False)

    write(tmp_path, {"models.py": MODELS + GLAZE})
    assert toque("db", "revision", "-m", "bare", "--no-rename").code == 0
    last = max((tmp_path / "migrations" / "versions").glob("*.py"), key=lambda file: (file.stat().st_mtime_ns, file))
    text = last.read_text()
    last.write_text(text.replace("\n\n\ndef downgrade", '\n    op.execute("no SQL")\n\n\ndef downgrade', 1))
    assert toque("db", "upgrade").code == 1
    # Whichever of its steps were done: pots are written to, and as far as the columns are there, told of.
    _do(database_url, "INSERT INTO pot (id, name) VALUES (1, 'jug')")

    last.write_text(text)
    assert toque("db", "upgrade").code == 0
    assert _triggers(database_url) == up
    _do(database_url, "INSERT INTO pot (id, name, glaze) VALUES (2, 'jug', 'blue')")
    told = "toque_change" if database_url.startswith("sqlite") else "toque.change"
    assert _do(database_url, f"SELECT columns FROM {told} WHERE images IS NOT NULL")[-1] == '["id"]'

    assert toque("db", "downgrade", "--to", "base", "--lose-data", "--force").code == 0
    assert _triggers(database_url) == 0
