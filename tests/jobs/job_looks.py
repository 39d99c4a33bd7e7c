"""What the tests of jobs see of them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from toque.store import Store
from toque.store.database import transaction_of
from toque.store.prepared import Prepared

GIVE_UP_S = 20.0


async def rows(store: Store, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """What a look from outside finds; `toque.job` is written as on PostgreSQL."""
    words = sql if store.dialect_name == "postgresql" else sql.replace("toque.", "toque_")

    async def run(database: Any) -> list[Any]:
        found: list[Any] = await transaction_of(database).fetch(Prepared(words), arguments, 0, list)
        return found

    return [tuple(row) for row in await store.query(run)]


async def act(store: Store, sql: str) -> None:
    """Change something from outside."""
    words = sql if store.dialect_name == "postgresql" else sql.replace("toque.", "toque_")

    async def run(database: Any) -> None:
        await database.execute(text(words))

    await store.command(run)


async def is_empty(store: Store) -> bool:
    return not await rows(store, "SELECT id FROM toque.job")


async def until(holds: Callable[[], Any], give_up_s: float = GIVE_UP_S) -> Any:
    """What *holds* says, once that is something."""
    async with asyncio.timeout(give_up_s):
        while True:
            found = holds()
            if hasattr(found, "__await__"):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)
