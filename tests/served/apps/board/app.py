"""A number on a board, which many follow."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, public

app = App("board")


class Board(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


@app.seed
async def fill(db: Database) -> None:
    await db.execute(insert(Board).values(id=1, count=0))


@app.command("/count", allow=public)
async def set_count(count: int, db: Database) -> int:
    await db.execute(update(Board).where(Board.id == 1).values(count=count))
    return count


@app.query("/count", allow=public)
async def get_count(db: Database) -> int:
    count: int = await db.scalar(select(Board.count).where(Board.id == 1))
    return count
