"""Toque as its guide writes it: typed functions, Structs, the app's own server.

Served by: toque run toque_plain.py, in production.
"""

from __future__ import annotations

from typing import Annotated

from toque import App, Meta, Struct, public

app = App("bench")


class Greeting(Struct):
    message: str


class Item(Struct):
    id: int
    page: int
    size: int
    tag: str


class Line(Struct):
    sku: str
    quantity: Annotated[int, Meta(ge=1)]
    price_cents: int
    note: str


class Order(Struct):
    id: int
    customer: Annotated[str, Meta(min_length=1)]
    email: str
    tags: list[str]
    lines: list[Line]


@app.query("/hello", allow=public)
async def hello() -> Greeting:
    return Greeting("Hello, World!")


@app.query("/items/{id}", allow=public)
async def item(id: int, page: Annotated[int, Meta(ge=1)], size: int, tag: str) -> Item:
    return Item(id, page, size, tag)


@app.command("/orders", allow=public)
async def echo(order: Order) -> Order:
    return order
