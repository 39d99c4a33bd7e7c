"""What `toque explain` and `toque check` say of answers from memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Toque, write

from toque.cache.learned import FILE

APP = """
import time

from sqlalchemy import MetaData, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Database, public
from toque.store.rows import SHARED, declare


class Base(DeclarativeBase):
    metadata = MetaData()


class Pot(Base):
    __tablename__ = "pot"
    id: Mapped[int] = mapped_column(primary_key=True)


declare(Pot.__table__, SHARED)
app = App("pottery", metadata=Base.metadata)


@app.query("/pots", allow=public)
async def pots(db: Database) -> list[int]:
    return [row async for row in db.stream(int, select(Pot.id))]


@app.query("/clock", allow=public)
async def clock(db: Database) -> float:
    return time.time()


@app.query("/audit", allow=public)
async def audit(db: AllRows) -> list[int]:
    return await db.all(int, select(Pot.id))


@app.query("/nothing", allow=public)
async def nothing() -> int:
    return 0


@app.command("/pot", allow=public)
async def put(db: Database) -> None: ...
"""


@pytest.fixture
def pottery(toque: Toque, tmp_path: Path) -> Path:
    folder = write(tmp_path, {"app.py": APP})
    known = '{"pottery.pots": {"reads": {"pot": [["id"], ["shelf", "row"]]}, "why_not": "it was a text"}}'
    return write(folder, {str(FILE): known})


def test_explain_shows_what_a_query_was_seen_to_read(toque: Toque, pottery: Path) -> None:
    said = toque("explain", "pots")
    words = " ".join(said.out.replace("│", " ").split())

    assert said.code == 0
    assert "has read" in words
    assert "pot by id or shelf and row" in words
    assert "it was a text" in words
    said = toque("explain", "clock")
    assert "not cached: it uses time.time" in " ".join(said.out.replace("│", " ").split())


def test_check_names_the_queries_that_always_ask_the_database(toque: Toque, pottery: Path) -> None:
    assert toque("check").out.splitlines() == ["pottery 0.1.0: 5 operations, nothing wrong"]
    said = toque("check", "--queries")

    assert said.code == 0
    assert said.out.splitlines() == [
        "pottery.pots asks the database each time: it was a text",
        "pottery.clock asks the database each time: it uses time.time",
        "pottery.audit asks the database each time: it asks for AllRows",
        "pottery 0.1.0: 5 operations, nothing wrong",
    ]
