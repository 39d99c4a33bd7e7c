"""Toque with its store: SQLAlchemy models and statements, answered as views.

TOQUE_DATABASE_URL chooses the database.
"""

from __future__ import annotations

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, Struct, public

app = App("bench")


class World(Model, shared=True):
    __tablename__ = "world"
    id: Mapped[int] = mapped_column(primary_key=True)
    random_number: Mapped[int]


class Fortune(Model, shared=True):
    __tablename__ = "fortune"
    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]


class WorldView(Struct):
    id: int
    random_number: int


class FortuneView(Struct):
    id: int
    message: str


# Statements are built once, as the guide to the database advises for whatever is called often: building one costs
# SQLAlchemy more than running it costs us.
WORLD = select(World).where(World.id == bindparam("id"))
FORTUNES = select(Fortune).order_by(Fortune.message)
RENEWAL = update(World).where(World.id == bindparam("key")).values(random_number=bindparam("number"))


@app.query("/world/{id}", allow=public)
async def world(id: int, db: Database) -> WorldView:
    return await db.one(WorldView, WORLD, {"id": id})


@app.query("/worlds/{first}", allow=public)
async def worlds(first: int, db: Database) -> list[WorldView]:
    return [await db.one(WorldView, WORLD, {"id": id}) for id in range(first, first + 20)]


@app.query("/fortunes", allow=public)
async def fortunes(db: Database) -> list[FortuneView]:
    return await db.all(FortuneView, FORTUNES)


@app.command("/renewals/{first}/{number}", allow=public)
async def renew(first: int, number: int, db: Database) -> list[WorldView]:
    found = [await db.one(WorldView, WORLD, {"id": id}) for id in range(first, first + 5)]
    await db.execute(RENEWAL, [{"key": each.id, "number": number} for each in found])
    return [WorldView(each.id, number) for each in found]
