"""A counter: each order is handed out by a job that waits until it is cooked, or given up when that takes too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec
from sqlalchemy import MetaData, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, Event, Jobs, Outbox, Steps, Struct, public
from toque.store.database import transaction_of
from toque.store.models import NAMES, Conventions
from toque.store.prepared import Prepared
from toque.testing.faults import JOBS, STORE, WAITS, Call, Effect, Kept, Rules, Scenario, State

ORDERS = 12
LATE_S = 0.3


class PickupModel(Conventions, DeclarativeBase):
    """Tables of its own: several apps are tested in one process."""

    metadata = MetaData(naming_convention=NAMES)


app = App("pickup", metadata=PickupModel.metadata)


class Order(PickupModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[str]
    is_lost: Mapped[bool]


class Done(PickupModel, shared=True):
    """Nothing is unique but its own number: what was done twice is there twice."""

    id: Mapped[int] = mapped_column(primary_key=True)
    consumer: Mapped[str]
    order: Mapped[str]


class Placed(Event):
    order: str


class Cooked(Event):
    order: str


class OrderView(Struct):
    order: str
    is_lost: bool


class DoneView(Struct):
    id: int
    consumer: str
    order: str


async def done(consumer: str, order: str, db: Database) -> None:
    await db.execute(insert(Done).values(consumer=consumer, order=order))


async def place(order: str, is_lost: bool, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    await db.execute(insert(Order).values(order=order, is_lost=is_lost))
    jobs.enqueue(hand_out, order, is_lost)
    if not is_lost:
        outbox.publish(Placed(order), key=order)
    return OrderView(order=order, is_lost=is_lost)


@app.command("/orders", allow=public, is_idempotent=True)
async def place_order(order: str, is_lost: bool, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    return await place(order, is_lost, db, outbox, jobs)


@app.command("/shouts", allow=public)
async def shout_order(order: str, is_lost: bool, db: Database, outbox: Outbox, jobs: Jobs) -> OrderView:
    """The same for whoever has no key."""
    return await place(order, is_lost, db, outbox, jobs)


@app.on(Placed)
async def cook(event: Placed, db: Database, outbox: Outbox) -> None:
    await done("pickup.cook", event.order, db)
    outbox.publish(Cooked(event.order), key=event.order)


@app.job()
async def hand_out(order: str, is_lost: bool, steps: Steps) -> None:
    cooked = await steps.wait("until it is cooked", Cooked, key=order, timeout=LATE_S if is_lost else None)
    if cooked is None:
        await steps.run("give up", give_up, order)
    else:
        await steps.run("hand", hand, cooked.order)


async def give_up(order: str, db: Database) -> None:
    await done("pickup.give_up", order, db)


async def hand(order: str, db: Database) -> None:
    await done("pickup.hand", order, db)


def calls(random: Random) -> Sequence[Call]:
    return [_call(f"o{number}", random) for number in range(ORDERS)]


def _call(order: str, random: Random) -> Call:
    is_once = random.random() < 0.7
    operation = "pickup.place_order" if is_once else "pickup.shout_order"
    return Call(order, operation, {"order": order, "is_lost": random.random() < 0.25}, is_once)


# Jobs in whose company processes ended again and again.
ASIDE = {
    dialect: Prepared(f"SELECT data FROM {table} WHERE reason LIKE '%processes ended%'")
    for dialect, table in (("sqlite", "toque_job_dead"), ("postgresql", "toque.job_dead"))
}


async def read(db: Database) -> State:
    orders = await db.all(OrderView, select(Order))
    effects = await db.all(DoneView, select(Done))
    transaction = transaction_of(db)
    aside = await transaction.fetch(ASIDE[transaction.plans.dialect.name], [], 0, list)
    return State(
        [Kept(one.order, owes=_owed(one)) for one in orders],
        [Effect(one.consumer, one.order, "", one.id) for one in effects],
        [
            Effect(consumer, msgspec.json.decode(data)["order"])
            for (data,) in aside
            for consumer in ("pickup.hand", "pickup.give_up")
        ],
    )


def _owed(order: OrderView) -> tuple[str, ...]:
    return ("pickup.give_up",) if order.is_lost else ("pickup.cook", "pickup.hand")


def identify(inputs: Mapping[str, Any]) -> tuple[str, str]:
    event = inputs.get("event")
    return (inputs["order"] if event is None else event.order), ""


scenario = Scenario(app, calls, read, identify, rules=Rules(), steps=(*STORE, *JOBS, *WAITS))
