"""The app of these programs: rows with a version, and orders over four tables."""

from __future__ import annotations

import os
from time import monotonic

from sqlalchemy import ForeignKey, bindparam, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from bench.messages.production import in_production
from toque import App, Database, Model, Struct, public
from toque.settings import Database as DatabaseSettings
from toque.settings import Secret, Settings
from toque.store.database import transaction_of

__all__ = ["DISHES", "LINES", "ORDERS", "URL", "app", "prepare", "settings"]

URL = os.environ.get("BENCH_POSTGRES_URL", "")
DISHES, ORDERS, LINES, STATIONS, PLACES = 1_000, 500, 10, 10, 40
POOL_SIZE = 16

app = App("bench")


class Station(Model, shared=True):
    __tablename__ = "station"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Dish(Model, shared=True):
    __tablename__ = "dish"
    id: Mapped[int] = mapped_column(primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey(Station.id), index=True)
    name: Mapped[str]
    version: Mapped[int]


class Place(Model, shared=True):
    __tablename__ = "place"
    id: Mapped[int] = mapped_column(primary_key=True)
    room: Mapped[str]


class Line(Model, shared=True):
    __tablename__ = "line"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(index=True)
    place_id: Mapped[int] = mapped_column(ForeignKey(Place.id), index=True)
    dish_id: Mapped[int] = mapped_column(ForeignKey(Dish.id), index=True)
    quantity: Mapped[int]


class LineView(Struct):
    dish: str
    quantity: int
    station: str
    room: str


VERSION = select(Dish.version).where(Dish.id == bindparam("id"))
RENEWAL = update(Dish).where(Dish.id == bindparam("key")).values(version=bindparam("number"))
JOIN = (
    select(Dish.name.label("dish"), Line.quantity, Station.name.label("station"), Place.room)
    .select_from(Line)
    .join(Dish, Dish.id == Line.dish_id)
    .join(Station, Station.id == Dish.station_id)
    .join(Place, Place.id == Line.place_id)
    .where(Line.order_id == bindparam("id"))
    .order_by(Line.id)
)
JOIN_SQL = """
    SELECT dish.name, line.quantity, station.name, place.room FROM line
    JOIN dish ON dish.id = line.dish_id JOIN station ON station.id = dish.station_id
    JOIN place ON place.id = line.place_id
    WHERE line.order_id = $1 ORDER BY line.id
"""
"""What the statement above is, for who asks the database himself."""


@app.query(allow=public)
async def version(id: int, db: Database) -> int:
    return await db.scalar(VERSION, {"id": id})


@app.query(allow=public, freshness="strict")
async def version_strict(id: int, db: Database) -> int:
    return await db.scalar(VERSION, {"id": id})


@app.query(allow=public, freshness="strict")
async def order(id: int, db: Database) -> list[LineView]:
    return await db.all(LineView, JOIN, {"id": id})


@app.query(allow=public, cached=False)
async def order_read(id: int, db: Database) -> list[LineView]:
    return await db.all(LineView, JOIN, {"id": id})


committed: dict[int, float] = {}
"""When the store said that a number was committed, on the clock that all processes of a machine share."""


@app.command(allow=public)
async def renew(id: int, number: int, db: Database) -> int:
    transaction_of(db).after.append(lambda: committed.setdefault(number, monotonic()))
    await db.execute(RENEWAL, {"key": id, "number": number})
    return number


def settings() -> Settings:
    return in_production(database=DatabaseSettings(pool_size=POOL_SIZE))


async def prepare() -> None:
    """Make the tables with their triggers, and fill them."""
    given = Settings(database=DatabaseSettings(url=Secret(URL)))
    serving = app.serve(given)
    await serving.prepare_database()
    store = serving.system.store
    assert store is not None, "it has models"
    await store.start()
    stations = [{"id": n, "name": f"station {n}"} for n in range(1, STATIONS + 1)]
    dishes = [
        {"id": n, "station_id": 1 + n % STATIONS, "name": f"dish {n}", "version": 0} for n in range(1, DISHES + 1)
    ]
    places = [{"id": n, "room": "garden"} for n in range(1, PLACES + 1)]
    lines = [
        {
            "id": n,
            "order_id": 1 + n % ORDERS,
            "place_id": 1 + n % PLACES,
            "dish_id": 1 + n * 7919 % DISHES,
            "quantity": 1 + n % 3,
        }
        for n in range(1, ORDERS * LINES + 1)
    ]
    for model, rows in ((Station, stations), (Place, places), (Dish, dishes), (Line, lines)):
        await store.command(lambda db, model=model, rows=rows: db.execute(insert(model), rows))
    await store.stop()
