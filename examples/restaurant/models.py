"""What the restaurant remembers: a menu, the tables, and the orders."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from sqlalchemy import ForeignKey, Numeric, exists
from sqlalchemy.orm import Mapped, mapped_column, relationship

from toque import Me, Model, Rows

TABLES = 20
"""As many as the room holds, numbered from 1."""

Price = Annotated[Decimal, mapped_column(Numeric(8, 2))]


class Station(StrEnum):
    """Where in the kitchen a dish is made."""

    GRILL = "grill"
    COLD = "cold"
    PASTRY = "pastry"
    BAR = "bar"


class Status(StrEnum):
    """How far an order has come."""

    PLACED = "placed"
    COOKING = "cooking"
    READY = "ready"
    SERVED = "served"


class Course(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    dishes: Mapped[list[Dish]] = relationship(order_by="Dish.id")


class Dish(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("course.id"), index=True)
    name: Mapped[str]
    description: Mapped[str]
    price: Mapped[Price]
    station: Mapped[Station]
    is_vegetarian: Mapped[bool]


class Table(Model, shared=True):
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seats: Mapped[int]


class Order(Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    table: Mapped[int] = mapped_column(ForeignKey("table.number"))
    status: Mapped[Status] = mapped_column(default=Status.PLACED, index=True)
    waiter: Mapped[str]
    placed_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    total: Mapped[Price]
    items: Mapped[list[OrderItem]] = relationship(order_by="OrderItem.id")

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        """The staff reads every order; a waiter changes his own, and cooks move all."""
        mine = cls.waiter == me.subject
        return Rows(
            read=me.has_role("waiter", "cook"),
            insert=me.has_role("waiter"),
            change=mine | me.has_role("cook"),
            stamp={"waiter": me.subject},
        )


class OrderItem(Model):
    """A dish as it was when it was ordered: a new price on the menu changes no bill."""

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), index=True)
    dish_id: Mapped[int] = mapped_column(ForeignKey("dish.id"))
    name: Mapped[str]
    station: Mapped[Station]
    price: Mapped[Price]
    quantity: Mapped[int]
    is_cooked: Mapped[bool] = mapped_column(default=False)

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        """Read like the order; only its waiter adds to it."""
        own = exists().where(Order.id == cls.order_id, Order.waiter == me.subject)
        return Rows(read=me.has_role("waiter", "cook"), insert=own)
