"""How a database would run a statement: its plan, without running it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from typing import Any

__all__ = ["explain", "explained"]

_NUMBERS = count()
_PARAMETER = re.compile(r"\$(\d+)")
# Planning takes milliseconds. What waits longer waits for a lock, and had better not.
LOCK_TIMEOUT_MS = 100
STATEMENT_TIMEOUT_MS = 2000


async def explain(url: str, sql: str, arguments: Sequence[Any], *, with_values: bool = False) -> list[str]:
    """The plan of *sql*, one line a step, read on a connection of its own.

    Args:
        with_values: plan for these *arguments*, which then stand in the plan of PostgreSQL. Otherwise it is the plan
            for any values, and has none.
    Raises: whatever the database says when it cannot be planned.
    """
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_sqlite, url, sql, arguments)
    return await _postgres(url, sql, arguments, with_values)


def _sqlite(url: str, sql: str, arguments: Sequence[Any]) -> list[str]:
    from toque.store.sqlite import path_of
    from toque.store.sqlite_connection import open_reader

    path = path_of(url)
    assert path is not None, "a store says where its file is"
    with closing(open_reader(path)) as connection:
        # Source: https://www.sqlite.org/eqp.html. Values never stand in it.
        steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments).fetchall()
    depths = {0: -1}
    lines = []
    for number, parent, _, what in steps:
        depths[number] = depths.get(parent, -1) + 1
        lines.append("  " * depths[number] + what)
    return lines


async def _postgres(url: str, sql: str, arguments: Sequence[Any], with_values: bool) -> list[str]:
    from toque.store.postgres_connection import connect_to_move

    connection = await connect_to_move(url)
    try:
        # Rolled back, so that a pooler's next user finds neither the settings nor the prepared statement.
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        await connection.execute(
            f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"
        )
        if with_values:
            lines = [row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *arguments)]
        else:
            lines = await explained(connection, sql)
        await transaction.rollback()
    finally:
        await connection.close()
    return lines


async def explained(connection: Any, sql: str, form: str = "TEXT") -> list[str]:
    """The plan of *sql* for whatever values, read on a *connection* of asyncpg within a transaction.

    `GENERIC_PLAN` says the same since PostgreSQL 16; this is understood since 12 (manual, "PREPARE").
    """
    # No rollback forgets a prepared statement. Where the plan fails it stays, so each has a name of its own.
    name = f"toque_explained_{next(_NUMBERS)}"
    parameters = max((int(number) for number in _PARAMETER.findall(sql)), default=0)
    nulls = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE {name} AS {sql}")
    rows = await connection.fetch(f"EXPLAIN (FORMAT {form}) EXECUTE {name}{nulls}")
    await connection.execute(f"DEALLOCATE {name}")
    return [row[0] for row in rows]
