"""A ledger whose entries must be there once: what is done twice shows, because nothing keeps a word from being twice."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, Struct, public

app = App("ledger")


class Entry(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]


class Written(Struct):
    id: int
    word: str


@app.command("/entries", allow=public, is_idempotent=True)
async def write(word: str, db: Database) -> Written:
    written = await db.one(Written, insert(Entry).values(word=word).returning(Entry))
    async with db.savepoint():
        await db.execute(insert(Entry).values(word=f"{word} too"))
    return written
