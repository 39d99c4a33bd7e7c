"""Toque as its guide writes live queries: a row that is followed, and the command that changes it.

Run as a program it puts up the triggers that tell of changes; TOQUE_DATABASE_URL says where.
"""

from __future__ import annotations

from time import monotonic

from sqlalchemy import bindparam, update
from toque_kept import World, app, capture, world

from toque import Database, Struct, public
from toque.store.database import transaction_of

__all__ = ["app", "world"]

RENEWAL = update(World).where(World.id == bindparam("key")).values(random_number=bindparam("number"))

committed: dict[int, float] = {}
"""When the store said that a number was committed, on the clock that all processes of a machine share."""


class Told(Struct):
    at: float


@app.command("/world/{id}/{number}", allow=public)
async def renew(id: int, number: int, db: Database) -> int:
    transaction_of(db).after.append(lambda: committed.setdefault(number, monotonic()))
    await db.execute(RENEWAL, {"key": id, "number": number})
    return number


@app.query("/committed/{number}", allow=public)
async def committed_at(number: int) -> Told:
    return Told(committed[number])


if __name__ == "__main__":
    capture()
