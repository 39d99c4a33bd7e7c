"""Orders: a waiter places them, the kitchen moves them on, both watch them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec.structs import asdict
from sqlalchemy import insert, select

from restaurant.kitchen import OrderPlaced, OrderReady, move
from restaurant.models import TABLES, Dish, Order, OrderItem, Station, Status
from toque import Database, Error, Fault, Invalid, Meta, Module, Outbox, Principal, Struct, role

orders = Module("restaurant", tags=["orders"])

NEXT = {Status.PLACED: Status.COOKING, Status.COOKING: Status.READY, Status.READY: Status.SERVED}
"""How an order goes on from each status."""

LISTED_MAX = 100
"""Orders in one list: five for each table, and no screen shows more."""

Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]  # What a database's INTEGER holds.
TableNumber = Annotated[int, Meta(ge=1, le=TABLES)]
Quantity = Annotated[int, Meta(ge=1, le=50)]  # No kitchen of this size plates more of one dish at once.


class NewItem(Struct):
    dish_id: Id
    quantity: Quantity


NewItems = Annotated[list[NewItem], Meta(min_length=1, max_length=50)]  # Twice the menu.


class DishOrdered(Struct):
    dish_id: int
    name: str
    station: Station
    price: Decimal


class OrderItemView(DishOrdered):
    quantity: int


class OrderView(Struct):
    id: int
    table: int
    status: Status
    waiter: str
    placed_at: datetime
    total: Decimal
    items: list[OrderItemView]


class IllegalMove(Error, code="illegal_move", http=409, title="An order does not go that way"):
    """The order cannot go from the status that it has to the one asked for."""


@orders.command("/orders", allow=role("waiter"), status=201, location="/orders/{id}")
async def place_order(
    table: TableNumber, items: NewItems, waiter: Principal, db: Database, outbox: Outbox
) -> OrderView:
    """Send an order to the kitchen."""
    wanted = {item.dish_id for item in items}
    on_menu = select(Dish, Dish.id.label("dish_id")).where(Dish.id.in_(wanted))
    dishes = {dish.dish_id: dish for dish in await db.all(DishOrdered, on_menu)}
    _refuse_unknown(items, dishes)
    total = sum((dishes[item.dish_id].price * item.quantity for item in items), Decimal(0))
    order = insert(Order).values(table=table, waiter=waiter.subject, total=total)
    order_id: int = await db.scalar(order.returning(Order.id))
    rows = [{**asdict(dishes[item.dish_id]), "order_id": order_id, "quantity": item.quantity} for item in items]
    await db.execute(insert(OrderItem), rows)
    stations = sorted({dishes[item.dish_id].station for item in items})
    outbox.publish(OrderPlaced(order_id, tuple(stations)), key=order_id)
    return await get_order(order_id, db)


@orders.query("/orders/{id}", allow=role("waiter", "cook"))
async def get_order(id: Id, db: Database) -> OrderView:
    """Look at one order."""
    return await db.one(OrderView, select(Order).where(Order.id == id))


@orders.query("/orders", allow=role("waiter", "cook"))
async def list_orders(db: Database, status: Status | None = None) -> list[OrderView]:
    """List the latest orders, the newest first; those of one status if one is given."""
    latest = select(Order).order_by(Order.id.desc()).limit(LISTED_MAX)
    return await db.all(OrderView, latest if status is None else latest.where(Order.status == status))


@orders.query("/orders/open", allow=role("waiter", "cook"))
async def list_open_orders(db: Database) -> list[OrderView]:
    """List the orders that are not served yet, the oldest first."""
    open_orders = select(Order).where(Order.status != Status.SERVED).order_by(Order.id).limit(LISTED_MAX)
    return await db.all(OrderView, open_orders)


@orders.command("/orders/{id}/status", allow=role("cook"), errors=[IllegalMove])
async def move_order(id: Id, status: Status, db: Database, outbox: Outbox) -> OrderView:
    """Move an order on: placed, cooking, ready, served."""
    is_moved = await db.execute(move(id, [source for source in NEXT if NEXT[source] is status], status))
    order = await get_order(id, db)
    if not is_moved:
        following = NEXT.get(order.status, "nothing further")
        raise IllegalMove(f"Order {id} is {order.status}; it goes to {following}, not to {status}.")
    if status is Status.READY:
        outbox.publish(OrderReady(id, order.table), key=id)
    return order


def _refuse_unknown(items: list[NewItem], dishes: Mapping[int, DishOrdered]) -> None:
    faults = [
        Fault(f"$.items[{place}].dish_id", "this dish is not on the menu", received=str(item.dish_id))
        for place, item in enumerate(items)
        if item.dish_id not in dishes
    ]
    if faults:
        raise Invalid("The order has dishes that are not on the menu; GET /menu lists those that are.", faults=faults)
