"""The tables of the store's tests: a kitchen, and one column of every type."""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Column, ForeignKey, MetaData, Numeric, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from toque.store.models import NAMES, Conventions
from toque.store.rows import SHARED, declare


class KitchenModel(Conventions, DeclarativeBase):
    """A base with tables of its own: several apps are tested in one process."""

    metadata = MetaData(naming_convention=NAMES)


class Course(enum.Enum):
    STARTER = "starter"
    MAIN = "main"


dish_tag = Table(
    "dish_tag",
    KitchenModel.metadata,
    Column("dish_id", ForeignKey("dish.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)

declare(dish_tag, SHARED)


class Tag(KitchenModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(unique=True)


class Dish(KitchenModel, shared=True):
    __table_args__ = (CheckConstraint("price >= 0", name="price"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    course: Mapped[Course] = mapped_column(default=Course.MAIN)
    recipe: Mapped[str] = mapped_column(default="secret")
    tags: Mapped[list[Tag]] = relationship(secondary=dish_tag, order_by=Tag.id)


class Order(KitchenModel, shared=True):
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    table_no: Mapped[int] = mapped_column("table_number")
    items: Mapped[list[Item]] = relationship(order_by="Item.id", back_populates="order")


class Item(KitchenModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("order.id"))
    dish_id: Mapped[int] = mapped_column(ForeignKey("dish.id"))
    quantity: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="items")
    dish: Mapped[Dish] = relationship()


class Account(KitchenModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Sample(KitchenModel, shared=True):
    id: Mapped[UUID] = mapped_column(primary_key=True)
    text: Mapped[str]
    number: Mapped[int]
    ratio: Mapped[float]
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 3))
    is_open: Mapped[bool]
    at: Mapped[datetime]
    day: Mapped[date]
    course: Mapped[Course]
    data: Mapped[bytes]
    document: Mapped[dict[str, Any]]
    words: Mapped[list[str]]
    missing: Mapped[str | None]
