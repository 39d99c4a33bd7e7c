"""Hand-written RSGI on granian: what an engineer writes who wants nothing between the server and msgspec.

Served by: granian --interface rsgi --http 1 --no-ws --loop uvloop
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

JSON = [("content-type", "application/json")]
ITEM_PREFIX = "/items/"

encode = msgspec.json.Encoder().encode


class Greeting(msgspec.Struct):
    message: str


class Item(msgspec.Struct):
    id: int
    page: Annotated[int, msgspec.Meta(ge=1)]
    size: int
    tag: str


class Line(msgspec.Struct):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]
    price_cents: int
    note: str


class Order(msgspec.Struct):
    id: int
    customer: Annotated[str, msgspec.Meta(min_length=1)]
    email: str
    tags: list[str]
    lines: list[Line]


decode_order = msgspec.json.Decoder(Order).decode


async def app(scope, proto):
    path = scope.path
    handler = ROUTES.get((scope.method, ITEM_PREFIX if path.startswith(ITEM_PREFIX) else path), not_found)
    try:
        await handler(scope, proto)
    except msgspec.ValidationError as error:
        proto.response_bytes(422, JSON, encode({"detail": str(error)}))


async def hello(scope, proto):
    proto.response_bytes(200, JSON, encode(Greeting("Hello, World!")))


async def item(scope, proto):
    values = dict(parse_qsl(scope.query_string))
    values["id"] = scope.path[len(ITEM_PREFIX) :]
    proto.response_bytes(200, JSON, encode(msgspec.convert(values, Item, strict=False)))


async def echo(scope, proto):
    proto.response_bytes(200, JSON, encode(decode_order(await proto())))


async def not_found(scope, proto):
    proto.response_empty(404, [])


ROUTES = {("GET", "/hello"): hello, ("GET", ITEM_PREFIX): item, ("POST", "/orders"): echo}
