"""A till: each sale is a row and two lines of a book, and no two sales of a drawer have one number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, Struct, public
from toque.testing.faults import Call, Kept, Rules, Scenario, State

app = App("till")

DRAWERS = ("bar", "door", "yard")
SALES = 24


class Drawer(Model, shared=True):
    name: Mapped[str] = mapped_column(primary_key=True)
    sales: Mapped[int] = mapped_column(default=0)


class Sale(Model, shared=True):
    """Nothing is unique but its own number: what was done twice is there twice."""

    id: Mapped[int] = mapped_column(primary_key=True)
    sale: Mapped[str]
    drawer: Mapped[str]
    place: Mapped[int]


class Booking(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    sale: Mapped[str]
    cents: Mapped[int]


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


async def book(sale: str, drawer: str, cents: int, db: Database) -> Receipt:
    # The row's lock makes the sales of a drawer wait for one another.
    counted = update(Drawer).where(Drawer.name == drawer).values(sales=Drawer.sales + 1).returning(Drawer.sales)
    place = await db.scalar(counted)
    await db.execute(insert(Sale).values(sale=sale, drawer=drawer, place=place))
    for amount in (cents, -cents):
        await db.execute(insert(Booking).values(sale=sale, cents=amount))
    return Receipt(sale=sale, place=place)


@app.command("/sell", allow=public, is_idempotent=True)
async def sell(sale: str, drawer: str, cents: int, db: Database) -> Receipt:
    return await book(sale, drawer, cents, db)


@app.command("/gamble", allow=public)
async def gamble(sale: str, drawer: str, cents: int, db: Database) -> Receipt:
    """The same for whoever has no key."""
    return await book(sale, drawer, cents, db)


def calls(random: Random) -> Sequence[Call]:
    return [_call(f"s{number}", random) for number in range(SALES)]


def _call(sale: str, random: Random) -> Call:
    is_once = random.random() < 0.7
    inputs = {"sale": sale, "drawer": random.choice(DRAWERS), "cents": random.randrange(1, 1000)}
    return Call(sale, "till.sell" if is_once else "till.gamble", inputs, is_once)


async def read(db: Database) -> State:
    sales = await db.all(SaleView, select(Sale))
    bookings = Counter(await db.all(str, select(Booking.sale)))
    copies = Counter(one.sale for one in sales)
    return State([Kept(one.sale, one.drawer, one.place, bookings[one.sale] // copies[one.sale]) for one in sales])


scenario = Scenario(app, calls, read, rules=Rules(parts=2))
