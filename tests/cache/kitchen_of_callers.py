"""An app whose queries are answered from memory: with rows for all, rows of tenants, and a branch that asks who calls."""

from __future__ import annotations

import asyncio
from typing import Annotated

from sqlalchemy import BigInteger, MetaData, delete, func, insert, literal, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, Header, Principal, Struct, authenticated, public
from toque.contract.errors import NotFound
from toque.store import SHARED
from toque.store.models import NAMES, Conventions

__all__ = ["Dish", "Note", "make_app"]


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Dish(Base):
    __rows__ = SHARED

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]


class Note(Base, tenant="tenant"):
    """Its rows are its tenant's."""

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]


class DishView(Struct):
    id: int
    name: str
    price: int


class NoteView(Struct):
    id: int
    text: str


class Both(Struct):
    dishes: list[DishView]
    notes: list[NoteView]


def make_app() -> App:
    app = App("kitchen", metadata=Base.metadata)

    @app.query("/dishes/{id}", allow=public)
    async def get_dish(id: int, db: Database) -> DishView:
        return await db.one(DishView, select(Dish).where(Dish.id == id))

    @app.query("/dishes", allow=public)
    async def list_dishes(db: Database) -> list[DishView]:
        return await db.all(DishView, select(Dish).order_by(Dish.id))

    @app.query("/slow", allow=public)
    async def list_slowly(db: Database) -> list[DishView]:
        """Goes on for a while after it has read."""
        dishes = await db.all(DishView, select(Dish).order_by(Dish.id))
        await asyncio.sleep(0.05)
        return dishes

    @app.query("/greeting", allow=public, stale_while_revalidate_s=30)
    async def greet(language: Annotated[str, Header("accept-language")], db: Database) -> str:
        return f"{language}: {await db.scalar(select(Dish.name).where(Dish.id == 1))}"

    @app.query("/lucky", allow=public)
    async def draw(db: Database) -> int | None:
        """Where there are dear dishes, one of them, and nobody knows which."""
        if not await db.scalar(select(Dish.id).where(Dish.price >= 100)):
            return None
        return int(await db.scalar(select(Dish.id).order_by(func.random()).limit(1)))

    @app.query("/guess", allow=public)
    async def guess(db: Database) -> int:
        """Answers although its statement fails: there is no such number."""
        try:
            return int(await db.scalar(select(func.abs(literal(-(2**63), BigInteger))).select_from(Dish)))
        except Exception:
            return -1

    @app.query("/strict", allow=public, freshness="strict")
    async def list_strictly(db: Database) -> list[DishView]:
        return await db.all(DishView, select(Dish).order_by(Dish.id))

    @app.query("/notes", allow=authenticated)
    async def list_notes(db: Database) -> list[NoteView]:
        return await db.all(NoteView, select(Note).order_by(Note.id))

    @app.query("/both", allow=public)
    async def list_both(db: Database) -> Both:
        """Who calls is observed on one branch only: where there are cheap dishes."""
        dishes = await db.all(DishView, select(Dish).where(Dish.price < 5).order_by(Dish.id))
        notes = await db.all(NoteView, select(Note).order_by(Note.id)) if dishes else []
        return Both(dishes, notes)

    @app.query("/me", allow=authenticated)
    async def who(caller: Principal, db: Database) -> str:
        return f"{caller.subject}: {await db.scalar(select(Dish.name).where(Dish.id == 1))}"

    @app.query("/session", allow=public)
    async def by_session(db: Database) -> int:
        async with db.session() as session:
            return len((await session.scalars(select(Dish))).all())

    @app.query("/trusted", allow=public, reads=[Dish])
    async def trusted(db: Database) -> int:
        async with db.session() as session:
            return len((await session.scalars(select(Dish))).all())

    @app.command("/dishes", allow=public)
    async def add_dish(id: int, name: str, price: int, db: Database) -> None:
        await db.execute(insert(Dish).values(id=id, name=name, price=price))

    @app.command("/price", allow=public)
    async def set_price(id: int, price: int, db: Database) -> None:
        if not await db.execute(update(Dish).where(Dish.id == id).values(price=price)):
            raise NotFound("There is no such dish.")

    @app.command("/dishes/{id}", method="DELETE", allow=public)
    async def remove_dish(id: int, db: Database) -> None:
        await db.execute(delete(Dish).where(Dish.id == id))

    @app.command("/notes", allow=authenticated)
    async def add_note(id: int, text: str, db: Database) -> None:
        await db.execute(insert(Note).values(id=id, text=text))

    return app
