"""What the tests of jobs see of them from outside."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from toque.store import Store
from toque.store.database import transaction_of
from toque.store.prepared import Prepared
from toque.store.sqlite import path_of

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


async def looked_at_by(store: Store, sql: str, arguments: Any, *, without: str = "") -> int:
    """How many rows *sql* read, however few it gave; on SQLite, how many hundreds of instructions it took."""
    if store.dialect_name == "postgresql":
        return await _rows_of_plan(store, sql, arguments, without)
    return await asyncio.to_thread(_steps_of_sqlite, store, sql, arguments)


async def _rows_of_plan(store: Store, sql: str, arguments: Any, without: str) -> int:
    """The rows that all nodes of the plan gave or threw away when it ran, kept from doing so in one way."""
    explained = Prepared(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", True)

    async def run(database: Any) -> Any:
        if without:
            await transaction_of(database).fetch(Prepared(f"SET LOCAL {without} = off"), (), 0, list)
        return await transaction_of(database).fetch(explained, arguments, 0, list)

    plan = (await store.command(run))[0][0]
    return _sum(plan if isinstance(plan, list) else json.loads(plan))


def _sum(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_sum, node))
    if not isinstance(node, dict):
        return 0
    own = (node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)) * node.get("Actual Loops", 1)
    return int(own) + sum(_sum(value) for value in node.values() if isinstance(value, list | dict))


def _steps_of_sqlite(store: Store, sql: str, arguments: Any) -> int:
    """A hundredth of the instructions that SQLite's machine took: some twenty to a row."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = sqlite3.connect(path_of(store.url))
    connection.set_progress_handler(count, 100)
    connection.execute(sql, arguments).fetchall()
    connection.rollback()
    connection.close()
    return steps
