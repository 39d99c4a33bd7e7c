"""A shop whose indexes are as a hurried team leaves them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque.store.models import NAMES, Conventions


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Customer(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    city: Mapped[str]
    shoe_size: Mapped[int] = mapped_column(index=True)


class Purchase(Base, shared=True):
    __table_args__ = (
        Index("ix_purchase_state", "state"),
        Index("ix_purchase_state_day", "state", "day"),
        Index("ix_purchase_state_twin", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    state: Mapped[str]
    day: Mapped[int]
    code: Mapped[int]
