"""A till: each sale is a row, two lines of a book and an event in the log; the sales of a drawer are numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import msgspec
from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Conflict, Database, Event, Outbox, Struct, public
from toque.store.database import transaction_of
from toque.store.models import NAMES, Conventions
from toque.store.prepared import Prepared
from toque.testing.faults import Call, Effect, Kept, Rules, Scenario, State

DRAWERS = ("bar", "door", "yard")
SALES = 24


class TillModel(Conventions, DeclarativeBase):
    """Tables of its own: several apps are tested in one process."""

    metadata = MetaData(naming_convention=NAMES)


app = App("till", metadata=TillModel.metadata)


class Drawer(TillModel, shared=True):
    name: Mapped[str] = mapped_column(primary_key=True)
    sales: Mapped[int] = mapped_column(default=0)


class Sale(TillModel, shared=True):
    """Nothing is unique but its own number: what was done twice is there twice."""

    id: Mapped[int] = mapped_column(primary_key=True)
    sale: Mapped[str]
    drawer: Mapped[str]
    place: Mapped[int]


class Booking(TillModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    sale: Mapped[str]
    cents: Mapped[int]


class Sold(Event):
    sale: str


class Receipt(Struct):
    sale: str
    place: int


class SaleView(Struct):
    sale: str
    drawer: str
    place: int


@app.seed
async def drawers(db: Database) -> None:
    await db.execute(insert(Drawer), [{"name": name, "sales": 0} for name in DRAWERS])


async def book(sale: str, drawer: str, cents: int, db: Database, outbox: Outbox) -> Receipt:
    outbox.publish(Sold(sale), key=drawer)
    # The row's lock makes the sales of a drawer wait for one another.
    counted = update(Drawer).where(Drawer.name == drawer).values(sales=Drawer.sales + 1).returning(Drawer.sales)
    place = await db.scalar(counted)
    await db.execute(insert(Sale).values(sale=sale, drawer=drawer, place=place))
    for amount in (cents, -cents):
        await db.execute(insert(Booking).values(sale=sale, cents=amount))
    return Receipt(sale=sale, place=place)


@app.command("/sell", allow=public, is_idempotent=True)
async def sell(sale: str, drawer: str, cents: int, db: Database, outbox: Outbox) -> Receipt:
    return await book(sale, drawer, cents, db, outbox)


@app.command("/gamble", allow=public)
async def gamble(sale: str, drawer: str, cents: int, db: Database, outbox: Outbox) -> Receipt:
    """The same for whoever has no key."""
    return await book(sale, drawer, cents, db, outbox)


@app.command("/decline", allow=public)
async def decline(sale: str, drawer: str, cents: int, db: Database, outbox: Outbox) -> Receipt:
    """Everything was done, and then it is not wanted."""
    await book(sale, drawer, cents, db, outbox)
    raise Conflict("The guest has no money.")


def calls(random: Random) -> Sequence[Call]:
    return [_call(f"s{number}", random) for number in range(SALES)]


def _call(sale: str, random: Random) -> Call:
    operation = random.choice(("sell", "sell", "sell", "sell", "gamble", "gamble", "decline"))
    inputs = {"sale": sale, "drawer": random.choice(DRAWERS), "cents": random.randrange(1, 1000)}
    return Call(sale, f"till.{operation}", inputs, is_once=operation == "sell")


EVENTS = {
    "sqlite": Prepared("SELECT data, key, pos FROM toque_event"),
    "postgresql": Prepared("SELECT data, key, pos FROM toque.event"),
}


async def read(db: Database) -> State:
    sales = await db.all(SaleView, select(Sale))
    bookings = Counter(await db.all(str, select(Booking.sale)))
    copies = Counter(one.sale for one in sales)
    kept = [Kept(one.sale, one.drawer, one.place, bookings[one.sale] // copies[one.sale], ("log",)) for one in sales]
    # The log is what this app's events reach, in the order of each drawer.
    rows = await transaction_of(db).fetch(EVENTS[transaction_of(db).plans.dialect.name], [], 0, list)
    return State(kept, [Effect("log", msgspec.json.decode(data)["sale"], key, pos) for data, key, pos in rows])


scenario = Scenario(app, calls, read, rules=Rules(parts=2, ordered=frozenset({"log"})), settled_s=0.5)
