"""Litestar with msgspec Structs, its documented fast way.

Served by: uvicorn --loop uvloop --http httptools --no-access-log
"""

from typing import Annotated

from litestar import Litestar, get, post
from litestar.params import Parameter
from msgspec import Meta, Struct


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


@get("/hello")
async def hello() -> Greeting:
    return Greeting("Hello, World!")


@get("/items/{id:int}")
async def item(id: int, page: Annotated[int, Parameter(ge=1)], size: int, tag: str) -> Item:
    return Item(id, page, size, tag)


@post("/orders", status_code=200)
async def echo(data: Order) -> Order:
    return data


app = Litestar([hello, item, echo], openapi_config=None)
