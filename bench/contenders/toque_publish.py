"""Toque: a command that writes a row, and with BENCH_PUBLISH one that publishes an event too.

Run as a program it makes the tables; TOQUE_DATABASE_URL says where.
"""

from __future__ import annotations

import asyncio
import os

from sqlalchemy import bindparam, insert
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Event, Model, Outbox, public

app = App("bench")


class Note(Model, shared=True):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    text: Mapped[str]


class NoteTaken(Event):
    number: int
    text: str


NOTE = insert(Note).values(number=bindparam("number"), text=bindparam("text"))
TEXT = "no onions, well done, and a candle for the birthday " * 3

if os.environ.get("BENCH_PUBLISH"):

    @app.command("/notes/{number}", allow=public)
    async def take(number: int, db: Database, outbox: Outbox) -> int:
        await db.execute(NOTE, {"number": number, "text": TEXT})
        outbox.publish(NoteTaken(number, TEXT), key=number)
        return number

else:

    @app.command("/notes/{number}", allow=public)
    async def take(number: int, db: Database) -> int:
        await db.execute(NOTE, {"number": number, "text": TEXT})
        return number


def make_tables() -> None:
    from toque.settings import Database as DatabaseSettings
    from toque.settings import Secret, Settings

    url = Secret(os.environ["TOQUE_DATABASE_URL"])
    asyncio.run(app.serve(Settings(database=DatabaseSettings(url=url))).prepare_database())


if __name__ == "__main__":
    make_tables()
