"""Toque as its guide writes queries: answered from memory, without a word about it.

Run as a program it puts up the triggers that tell of changes; TOQUE_DATABASE_URL says where.
"""

from __future__ import annotations

import asyncio
import os

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, Struct, public

app = App("bench")
PAGE_ROWS = 300


class World(Model, shared=True):
    __tablename__ = "world"
    id: Mapped[int] = mapped_column(primary_key=True)
    random_number: Mapped[int]


class WorldView(Struct):
    id: int
    random_number: int


WORLD = select(World).where(World.id == bindparam("id"))
PAGE = select(World).where(World.id >= bindparam("first")).order_by(World.id).limit(PAGE_ROWS)


@app.query("/world/{id}", allow=public)
async def world(id: int, db: Database) -> WorldView:
    return await db.one(WorldView, WORLD, {"id": id})


@app.query("/page/{first}", allow=public)
async def page(first: int, db: Database) -> list[WorldView]:
    return await db.all(WorldView, PAGE, {"first": first})


def capture() -> None:
    from toque.settings import Database as DatabaseSettings
    from toque.settings import Secret, Settings

    url = Secret(os.environ["TOQUE_DATABASE_URL"])
    asyncio.run(app.serve(Settings(database=DatabaseSettings(url=url))).prepare_database())


if __name__ == "__main__":
    capture()
