"""Toque with two operations for each of five models."""

from typing import Annotated

from sqlalchemy import insert, select
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Meta, Model, Struct, public

app = App("bench")


def add_resource(table: str) -> None:
    class Row(Model):
        __tablename__ = table
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        price_cents: Mapped[int]

    class View(Struct):
        id: int
        name: str
        price_cents: int

    class New(Struct):
        name: Annotated[str, Meta(min_length=1)]
        price_cents: int

    @app.query(f"/{table}/{{id}}", allow=public, name=f"read_{table}")
    async def read(id: int, db: Database) -> View:
        return await db.one(View, select(Row).where(Row.id == id))

    @app.command(f"/{table}", allow=public, name=f"create_{table}")
    async def create(new: New, db: Database) -> View:
        values = {"name": new.name, "price_cents": new.price_cents}
        return await db.one(View, insert(Row).values(values).returning(Row))


for table in ("dishes", "tables", "orders", "stations", "waiters"):
    add_resource(table)
