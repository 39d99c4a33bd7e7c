"""A kitchen: orders are placed, cooked, billed and served by handlers, each table's in their order, and ticketed by jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec
from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, Delivery, Event, Jobs, Outbox, Steps, Struct, public
from toque.store.database import transaction_of
from toque.store.models import NAMES, Conventions
from toque.store.prepared import Prepared
from toque.testing.faults import JOBS as JOB_STEPS
from toque.testing.faults import MESSAGES, STORE, Call, Effect, Kept, Rules, Scenario, State

TABLES = ("window", "door", "garden")
ORDERS = 12

HANDLERS = ("kitchen.cook", "kitchen.bill", "kitchen.serve")
JOBS = ("kitchen.ticket", "kitchen.wash")
STEPS = ("kitchen.warm", "kitchen.garnish")
DONE = (*HANDLERS, *JOBS, *STEPS)


class KitchenModel(Conventions, DeclarativeBase):
    """Tables of its own: several apps are tested in one process."""

    metadata = MetaData(naming_convention=NAMES)


app = App("kitchen", metadata=KitchenModel.metadata)


class Table(KitchenModel, shared=True):
    name: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int]


class Order(KitchenModel, shared=True):
    """Nothing is unique but its own number: what was done twice is there twice."""

    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[str]
    table: Mapped[str]
    place: Mapped[int]


class Done(KitchenModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    consumer: Mapped[str]
    order: Mapped[str]
    table: Mapped[str]


class OrderPlaced(Event):
    order: str
    table: str


class Cooked(Event):
    order: str
    table: str


class OrderView(Struct):
    order: str
    table: str
    place: int


class DoneView(Struct):
    id: int
    consumer: str
    order: str
    table: str


@app.seed
async def tables(db: Database) -> None:
    await db.execute(insert(Table), [{"name": name, "orders": 0} for name in TABLES])


async def place(order: str, table: str, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    # The row's lock makes the orders of a table wait for one another.
    counted = update(Table).where(Table.name == table).values(orders=Table.orders + 1).returning(Table.orders)
    number = await db.scalar(counted)
    await db.execute(insert(Order).values(order=order, table=table, place=number))
    outbox.publish(OrderPlaced(order, table), key=table)
    jobs.enqueue(ticket, order, table, key=table)
    jobs.enqueue(plate, order, table)
    return OrderView(order=order, table=table, place=number)


@app.command("/orders", allow=public, is_idempotent=True)
async def place_order(order: str, table: str, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    return await place(order, table, db, outbox, jobs)


@app.command("/shouts", allow=public)
async def shout_order(order: str, table: str, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    """The same for whoever has no key."""
    return await place(order, table, db, outbox, jobs)


async def done(consumer: str, order: str, table: str, db: Database) -> None:
    await db.execute(insert(Done).values(consumer=consumer, order=order, table=table))


@app.on(OrderPlaced)
async def cook(event: OrderPlaced, delivery: Delivery, db: Database, outbox: Outbox) -> None:
    await done("kitchen.cook", event.order, event.table, db)
    outbox.publish(Cooked(event.order, event.table), key=event.table)
    if delivery.attempt == 1 and event.order.endswith("7"):
        raise RuntimeError("it is burnt")


@app.on(OrderPlaced)
async def bill(event: OrderPlaced, db: Database) -> None:
    await done("kitchen.bill", event.order, event.table, db)


@app.on(Cooked)
async def serve(event: Cooked, db: Database, jobs: Jobs) -> None:
    await done("kitchen.serve", event.order, event.table, db)
    jobs.enqueue(wash, event.order, event.table)


@app.job()
async def ticket(order: str, table: str, db: Database) -> None:
    await done("kitchen.ticket", order, table, db)


@app.job()
async def plate(order: str, table: str, steps: Steps) -> None:
    await steps.run("warm", warm, order, table)
    await steps.run("garnish", garnish, order, table)


async def warm(order: str, table: str, db: Database) -> None:
    await done("kitchen.warm", order, table, db)


async def garnish(order: str, table: str, db: Database) -> None:
    await done("kitchen.garnish", order, table, db)


@app.job()
async def wash(order: str, table: str, delivery: Delivery, db: Database) -> None:
    await done("kitchen.wash", order, table, db)
    if delivery.attempt == 1 and order.endswith("3"):
        raise RuntimeError("the water is cold")


def calls(random: Random) -> Sequence[Call]:
    return [_call(f"o{number}", random) for number in range(ORDERS)]


def _call(order: str, random: Random) -> Call:
    is_once = random.random() < 0.7
    operation = "kitchen.place_order" if is_once else "kitchen.shout_order"
    return Call(order, operation, {"order": order, "table": random.choice(TABLES)}, is_once)


FOLLOWING = {
    "kitchen.cook": ("kitchen.serve", "kitchen.wash"),
    "kitchen.serve": ("kitchen.wash",),
    "kitchen.plate": STEPS,
}
"""What is done because of another one, and waits with it where that is put aside."""

# Messages in whose company processes ended again and again, and what waits behind them.
_ASIDE = (
    "SELECT c.name, p.data FROM {t}parked AS p JOIN {t}consumer AS c ON c.id = p.consumer WHERE EXISTS ("
    "SELECT 1 FROM {t}parked AS d WHERE d.consumer = p.consumer AND d.key = p.key AND d.reason = 'crash') "
    "UNION ALL SELECT name, data FROM {t}job_dead WHERE reason LIKE '%processes ended%'"
)
ASIDE = {
    "sqlite": Prepared(_ASIDE.format(t="toque_")),
    "postgresql": Prepared(_ASIDE.format(t="toque.")),
}


async def read(db: Database) -> State:
    orders = await db.all(OrderView, select(Order))
    effects = await db.all(DoneView, select(Done))
    transaction = transaction_of(db)
    aside = await transaction.fetch(ASIDE[transaction.plans.dialect.name], [], 0, list)
    return State(
        [Kept(one.order, one.table, one.place, owes=DONE) for one in orders],
        [Effect(one.consumer, one.order, one.table, one.id) for one in effects],
        [
            Effect(consumer, msgspec.json.decode(data)["order"])
            for name, data in aside
            for consumer in (name, *FOLLOWING.get(name, ()))
        ],
    )


def identify(inputs: Mapping[str, Any]) -> tuple[str, str]:
    event = inputs.get("event")
    return (inputs["order"], inputs["table"]) if event is None else (event.order, event.table)


ORDERED = frozenset({*HANDLERS, "kitchen.ticket"})

scenario = Scenario(app, calls, read, identify, Rules(ordered=ORDERED), steps=(*STORE, *MESSAGES, *JOB_STEPS))
