"""Ten hand-written RSGI operations on five resources: what granian and msgspec need to start."""

from __future__ import annotations

import msgspec

JSON = [("content-type", "application/json")]

encode = msgspec.json.Encoder().encode


class View(msgspec.Struct):
    id: int
    name: str
    price_cents: int


class New(msgspec.Struct):
    name: str
    price_cents: int


decode_new = msgspec.json.Decoder(New).decode


async def app(scope, proto):
    _, name, *rest = scope.path.split("/")
    await ROUTES[scope.method, name](proto, name, *map(int, rest))


async def read(proto, name, id):
    proto.response_bytes(200, JSON, encode(View(id, name, 100)))


async def create(proto, name):
    new = decode_new(await proto())
    proto.response_bytes(200, JSON, encode(View(1, new.name, new.price_cents)))


ROUTES = {(method, f"resource{n}"): handler for n in range(5) for method, handler in (("GET", read), ("POST", create))}
