"""The app that test_matrix.py calls over every transport; the command line loads it from this file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from toque import App, Context, Error, Meta, Principal, Struct, predicate, public, role

app = App("matrix")

begun = asyncio.Event()
"""Set when `hold` has begun; `hold` goes on until `release` is set."""
release = asyncio.Event()


class SoldOut(Error, code="matrix_sold_out", http=409, title="The dish is sold out"): ...


class NewOrder(Struct):
    table: Annotated[int, Meta(ge=1)]


class Order(Struct):
    id: int
    table: int


class Secretive(Order):
    secret: str = "never to leave"


@app.command("/orders", allow=role("waiter"))
async def place(new: NewOrder, caller: Principal) -> Order:
    return Order(1, new.table)


@app.query("/orders/{id}", allow=role("waiter") & predicate(lambda principal, id: id < 10))
async def look(id: int) -> Order:
    return Secretive(id, 4)


@app.query("/numbers", allow=role("waiter"))
async def count(until: int) -> AsyncIterator[int]:
    for number in range(until):
        yield number


@app.query("/plain", allow=role("waiter"))
def plain() -> str:
    return "from a thread"


@app.query("/sold-out", allow=public)
async def sell() -> Order:
    raise SoldOut("no more leeks", dish=7)


@app.query("/sold-out/plain", allow=public)
def sell_plainly() -> Order:
    raise SoldOut("no more leeks", dish=7)


@app.query("/broken", allow=public)
async def broken() -> Order:
    raise ValueError("the secret of the house")


@app.query("/undeclared", allow=public)
async def undeclared() -> Order:
    return {"id": "the secret of the house"}  # type: ignore[return-value]


@app.query("/wait", allow=public, deadline_s=0.05)
async def wait() -> None:
    await asyncio.Event().wait()


@app.query("/hold", allow=public)
async def hold() -> None:
    begun.set()
    await release.wait()


@app.query("/who", allow=public)
async def who(caller: Principal) -> str:
    return caller.subject or "nobody"


@app.query("/trace", allow=public)
async def trace(context: Context) -> str:
    return context.trace.trace_id
