"""Dishes that a cache in front keeps: what it forgets when they change."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Header, Model, Principal, Struct, public

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


@app.query("/dishes/{id}/label", allow=public)
async def label(id: int, db: Database, lang: Annotated[str, Header("accept-language")] = "en") -> str:
    return f"{lang}: {await db.scalar(select(Dish.price).where(Dish.id == id))}"


@app.query("/mine", allow=public)
async def mine(principal: Principal, db: Database) -> str:
    return f"{principal.subject}: {await db.scalar(select(Dish.price).where(Dish.id == 1))}"


@app.query("/anew", allow=public, cached=False)
async def anew(db: Database) -> list[DishView]:
    return await db.all(DishView, select(Dish).order_by(Dish.id))


asked: Counter[str] = Counter()


async def say(scope: Any, receive: Any, send: Any) -> None:
    """Another application, which answers what `x-say` asks it to, and counts."""
    asked_for = {name.decode(): value.decode() for name, value in scope["headers"]}
    said: dict[str, str] = json.loads(asked_for.get("x-say", "{}"))
    status = int(said.pop("status", 200))
    asked[scope["path"]] += 1
    how, body = "whole", b"answer"
    if status == 200 and "etag" in said and asked_for.get("if-none-match") == said["etag"]:
        status, how, body = 304, "validated", b""
    told = {"x-how": how, "x-asked": str(asked[scope["path"]]), **said}
    headers = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app.mount("/said", say)
