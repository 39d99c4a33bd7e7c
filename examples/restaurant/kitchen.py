"""The kitchen: what becomes of an order once it is placed, without anybody waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Update, exists, select, update

from restaurant.models import Order, OrderItem, Station, Status
from toque import AllRows, Event, Jobs, Module, Outbox

kitchen = Module("kitchen")

COOKING = timedelta(seconds=45)
"""How long a station takes: long enough to watch, and for a cook to be quicker by hand."""


class OrderPlaced(Event):
    order: int
    stations: tuple[Station, ...]


class OrderReady(Event):
    """What the delivery firm waits for: `toque webhooks add` sends it there."""

    order: int
    table: int


kitchen.sends(OrderReady)


@kitchen.on(OrderPlaced)
async def hand_out(event: OrderPlaced, jobs: Jobs) -> None:
    """Give each station its part of an order, behind what it has already."""
    for station in event.stations:
        jobs.enqueue(cook, event.order, station, key=station, delay=COOKING)


@kitchen.job(queue="kitchen")
async def cook(order: int, station: Station, db: AllRows, outbox: Outbox) -> None:
    """Cook a station's part of an order. Whoever cooks the last part makes the order ready.

    It asks for all rows: nobody calls a job, so none could be its caller's.
    """
    # The lock keeps two stations that end at once from each taking the other for not done.
    table = await db.scalar(select(Order.table).where(Order.id == order).with_for_update())
    part = update(OrderItem).where(OrderItem.order_id == order, OrderItem.station == station)
    await db.execute(part.values(is_cooked=True))
    waiting = exists().where(OrderItem.order_id == order, OrderItem.is_cooked.is_(False))
    if await db.scalar(select(waiting)):
        await db.execute(move(order, [Status.PLACED], Status.COOKING))
    # It moves nothing where a cook was quicker, by hand.
    elif await db.execute(move(order, [Status.PLACED, Status.COOKING], Status.READY)):
        outbox.publish(OrderReady(order, table), key=order)


def move(order: int, sources: Sequence[Status], target: Status) -> Update:
    """Have *order* go from one of *sources* to *target*. One statement looks and moves: of two who move an order at
    once, one moves nothing."""
    return update(Order).where(Order.id == order, Order.status.in_(sources)).values(status=target)
