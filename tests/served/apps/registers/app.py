"""Numbers that only grow, and two purses with one sum: what a caller may be answered is known to whoever writes them."""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, public

app = App("registers")


class Register(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


class Purse(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    coins: Mapped[int]


@app.seed
async def fill(db: Database) -> None:
    await db.execute(insert(Register), [{"id": id, "value": 0} for id in range(4)])
    await db.execute(insert(Purse), [{"id": id, "coins": 500} for id in range(2)])


@app.command("/registers/{id}", allow=public)
async def raise_register(id: int, value: int, db: Database) -> None:
    # Nobody knows when a call whose answer was lost is done: never after a later one.
    await db.execute(update(Register).where(Register.id == id, Register.value < value).values(value=value))


@app.query("/registers/{id}", allow=public)
async def get_register(id: int, db: Database) -> int:
    return await value_of(id, db)


@app.query("/strictly/{id}", allow=public, freshness="strict")
async def get_strictly(id: int, db: Database) -> int:
    return await value_of(id, db)


async def value_of(id: int, db: Database) -> int:
    value: int = await db.scalar(select(Register.value).where(Register.id == id))
    return value


@app.command("/move", allow=public)
async def move(coins: int, db: Database) -> None:
    for id, more in ((0, coins), (1, -coins)):
        await db.execute(update(Purse).where(Purse.id == id).values(coins=Purse.coins + more))


@app.query("/purses", allow=public)
async def get_purses(db: Database) -> list[int]:
    """Two statements: of one state, or the sum is another one."""
    return [await db.scalar(select(Purse.coins).where(Purse.id == id)) for id in range(2)]
