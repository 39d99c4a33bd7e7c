"""Dishes that a cache in front keeps: what it forgets when they change."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, Struct, public

app = App("menu")


class Dish(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]


class DishView(Struct):
    id: int
    price: int


@app.seed
async def fill(db: Database) -> None:
    await db.execute(insert(Dish).values([{"id": 1, "price": 1}, {"id": 2, "price": 1}]))


@app.command("/dishes/{id}", allow=public)
async def set_price(id: int, price: int, db: Database) -> None:
    await db.execute(update(Dish).where(Dish.id == id).values(price=price))


@app.query("/dishes/{id}", allow=public)
async def get_dish(id: int, db: Database) -> DishView:
    return await db.one(DishView, select(Dish).where(Dish.id == id))


@app.query("/dishes", allow=public)
async def list_dishes(db: Database) -> list[DishView]:
    return await db.all(DishView, select(Dish).order_by(Dish.id))


@app.query("/old", allow=public, stale_while_revalidate_s=30, stale_if_error_s=600)
async def list_old_dishes(db: Database) -> list[DishView]:
    return await db.all(DishView, select(Dish).order_by(Dish.id))
