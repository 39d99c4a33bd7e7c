"""An app that uses every public name, for type checkers: what they infer is asserted beside it.

It is also imported and served, so that what type checkers are told is what runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict, assert_type
from uuid import UUID, uuid4

from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import (
    Access,
    App,
    Conflict,
    Context,
    Database,
    DevelopmentTokens,
    Error,
    Fault,
    File,
    Forbidden,
    Header,
    InBody,
    InQuery,
    Invalid,
    Meta,
    Model,
    Module,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Principal,
    Settings,
    Struct,
    Unauthenticated,
    Unavailable,
    authenticated,
    predicate,
    public,
    role,
    scope,
)
from toque.store.rows import SHARED, declare
from toque.testing import Answer, Client, Harness, client, running

# Errors, access and settings.


class SoldOut(Error, code="typing_sold_out", http=409, title="The dish is sold out"): ...


def owns_table(principal: Principal, table: int) -> bool:
    return table in principal.claims.get("tables", ())


waiters: Access = role("waiter") & (scope("orders:write") | authenticated)
owners = waiters | predicate(owns_table)
assert_type(owners, Access)

settings = Settings()
assert_type(settings.http.port, int)
assert_type(settings.is_production, bool)


# Data.


class Base(DeclarativeBase):
    metadata = MetaData()


class Order(Base):
    __tablename__ = "order_of_test_typing"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    table: Mapped[int]
    placed_at: Mapped[datetime]


for mapped in Base.metadata.tables.values():
    declare(mapped, SHARED)

assert_type(Model.metadata, MetaData)


class NewOrder(Struct):
    table: Annotated[int, Meta(ge=1)]


class OrderView(Struct):
    id: UUID
    table: int


@dataclass
class Filter:
    table: int | None = None


class Totals(TypedDict):
    orders: int


# Resources.


class Clock:
    def now(self) -> datetime:
        return datetime.now()


@dataclass
class Kitchen:
    clock: Clock


app = App("typed", version="2.0", description="For type checkers.", metadata=Base.metadata)
orders = Module("orders", prefix="/orders", tags=["orders"])
app.include(orders)


@app.resource()
async def make_clock() -> AsyncIterator[Clock]:
    yield Clock()


@app.resource(lifetime="call")
def make_kitchen(clock: Clock) -> Iterator[Kitchen]:
    yield Kitchen(clock)


@app.seed
async def seed(db: Database, clock: Clock) -> None:
    await db.execute(insert(Order), {"id": uuid4(), "table": 1, "placed_at": clock.now()})


# Operations: a decorated function is the function that it was.


@orders.query("/{id}", allow=public, errors=[SoldOut])
async def get_order(id: UUID, db: Database) -> OrderView:
    order = await db.one(OrderView, select(Order).where(Order.id == id))
    assert_type(order, OrderView)
    return order


@orders.query("", allow=role("waiter"))
async def list_orders(filter: Filter, db: Database) -> list[OrderView]:
    statement = select(Order).order_by(Order.table)
    if filter.table is not None:
        statement = statement.where(Order.table == filter.table)
    found = await db.all(OrderView, statement)
    assert_type(found, list[OrderView])
    first = await db.first(OrderView, statement)
    assert_type(first, OrderView | None)
    return found


@orders.command("", allow=owners, status=201, location="/orders/{id}")
async def place_order(new: NewOrder, table: Annotated[int, InQuery()], db: Database, kitchen: Kitchen) -> OrderView:
    order = OrderView(uuid4(), new.table)
    values = {"id": order.id, "table": order.table, "placed_at": kitchen.clock.now()}
    count = await db.execute(insert(Order), values)
    assert_type(count, int)
    return order


@orders.command("/{id}", allow=waiters, method="PUT", deadline_s=2, body_bytes_max=1000)
async def move_order(id: UUID, table: int, db: Database, caller: Principal, context: Context) -> None:
    assert_type(caller.subject, str)
    assert_type(context.remaining_s, float)
    if not await db.execute(update(Order).where(Order.id == id).values(table=table)):
        raise NotFound(f"there is no order {id}")


@app.query("/totals", allow=authenticated)
def count_orders(station: Annotated[str, Header("x-station")] = "") -> Totals:
    return {"orders": len(station)}


@app.query("/search", allow=public)
async def search(filter: Annotated[Filter, InBody()]) -> list[int]:
    return [] if filter.table is None else [filter.table]


@app.query("/numbers", allow=public)
async def numbers(until: int) -> AsyncIterator[int]:
    for number in range(until):
        yield number


@app.query("/picture", allow=public, media_type="image/gif")
async def picture() -> bytes:
    return b"GIF89a"


@app.command("/photo", allow=public)
async def keep_photo(photo: File, tokens: DevelopmentTokens) -> str:
    return photo.filename


@app.command("/upload", allow=public)
async def upload(content: AsyncIterator[bytes]) -> int:
    return sum([len(chunk) async for chunk in content])


def refusals() -> list[Error]:
    fault = Fault("$.table", "there is no such table", expected="1 to 20", received="21")
    return [
        Invalid("wrong", faults=[fault]),
        Conflict("taken", table=4),
        Forbidden(),
        Unauthenticated(),
        PreconditionFailed(),
        Overloaded(retry_after_s=1),
        Unavailable(),
        SoldOut("no more leeks", dish=7),
    ]


# Decorated functions stay callable, and keep their types.


async def call_directly(db: Database) -> None:
    assert_type(await get_order(uuid4(), db), OrderView)
    assert_type(await list_orders(Filter(), db=db), list[OrderView])
    assert_type(count_orders(), Totals)
    assert_type([number async for number in numbers(3)], list[int])
    assert_type(await picture(), bytes)
    await get_order("no UUID", db)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await get_order(uuid4())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    count_orders(station=4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def use_the_database(db: Database) -> None:
    assert_type(await db.one(OrderView, select(Order)), OrderView)
    wrong: Totals = await db.one(OrderView, select(Order))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    del wrong


# Mistakes that a type checker finds before the app is started.


def mistakes() -> None:
    app.query("/a", allow="public")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.query("/a", allow=public, status=201)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.command("/a", allow=public, method="GET")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.resource(lifetime="request")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.command("/a", allow=public, errors=[ValueError])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


# Tests.


def use_the_client(folder: Path) -> None:
    with client(app) as calls:
        assert_type(calls, Client)
        assert_type(calls.get("/totals"), Answer)
        assert_type(calls.post("/orders", json={"table": 1}).status, int)


async def use_the_harness() -> None:
    async with running(app, settings=settings) as harness:
        assert_type(harness, Harness)
        answer = await harness.get("/totals", principal=Principal(subject="ana"))
        assert_type(answer, Answer)
        assert_type(answer.text, str)
        assert_type(answer.json(), Any)
