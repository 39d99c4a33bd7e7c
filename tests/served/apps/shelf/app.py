"""A number that is set and read: what a caller sees of his own writes where there are replicas."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, public

app = App("shelf")


class Shelf(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


@app.seed
async def fill(db: Database) -> None:
    await db.execute(insert(Shelf).values(id=1, count=0))


@app.command("/count", allow=public)
async def set_count(count: int, db: Database) -> int:
    await db.execute(update(Shelf).where(Shelf.id == 1).values(count=count))
    return count


@app.query("/count", allow=public, cached=False)
async def get_count(db: Database) -> int:
    count: int = await db.scalar(select(Shelf.count).where(Shelf.id == 1))
    return count
