"""Toque with two operations for each of five models."""

from typing import Annotated

from sqlalchemy import insert, select
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Meta, Model, Struct, public

app = App("bench")


class Priced:
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]


class Dish(Priced, Model, shared=True):
    __tablename__ = "dishes"


class Table(Priced, Model, shared=True):
    __tablename__ = "tables"


class Order(Priced, Model, shared=True):
    __tablename__ = "orders"


class Station(Priced, Model, shared=True):
    __tablename__ = "stations"


class Waiter(Priced, Model, shared=True):
    __tablename__ = "waiters"


def add_resource(row: type[Dish | Table | Order | Station | Waiter]) -> None:
    table = row.__tablename__

    class View(Struct):
        id: int
        name: str
        price_cents: int

    class New(Struct):
        name: Annotated[str, Meta(min_length=1)]
        price_cents: int

    @app.query(f"/{table}/{{id}}", allow=public, name=f"read_{table}")
    async def read(id: int, db: Database) -> View:
        return await db.one(View, select(row).where(row.id == id))

    @app.command(f"/{table}", allow=public, name=f"create_{table}")
    async def create(new: New, db: Database) -> View:
        values = {"name": new.name, "price_cents": new.price_cents}
        return await db.one(View, insert(row).values(values).returning(row))


for row in (Dish, Table, Order, Station, Waiter):
    add_resource(row)
