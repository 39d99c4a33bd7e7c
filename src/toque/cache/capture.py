"""Capture: what changes a table tells the log, in the same transaction, whoever changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toque.cache.change_table import CHANGES
from toque.log.layout import lay_out

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from toque.store.store import Store

__all__ = ["faults", "first_look", "install"]


async def install(url: str, tables: Sequence[Table]) -> list[str]:
    """Have changes of *tables* captured from now on: the names of those for which something had to be done.

    Done again, it does nothing; where a model has other keys than before, it puts up other triggers.
    """
    from toque.store.schema import with_connection

    await lay_out(url, (CHANGES,))

    def put_up(connection: Connection) -> list[str]:
        touched: list[str] = _triggers(connection.dialect.name).install(connection, tables)
        return touched

    return await asyncio.to_thread(with_connection, url, put_up)


async def first_look(store: Store) -> None:
    """See whether the log of changes can be looked into by this role. Raises: what it says where not."""
    from toque.cache.changes import changes_of

    await changes_of(store, ()).look(None)


async def faults(url: str, tables: Sequence[Table]) -> dict[str, list[str]]:
    """For each of *tables* whose changes are not told exactly, why: nothing read from it can be kept."""
    from toque.store.schema import with_connection

    def look(connection: Connection) -> dict[str, list[str]]:
        triggers = _triggers(connection.dialect.name)
        found = {table.fullname: triggers.faults(connection, table) for table in tables}
        return {name: why for name, why in found.items() if why}

    return await asyncio.to_thread(with_connection, url, look, is_kept=False)


def _triggers(dialect_name: str) -> Any:
    if dialect_name == "sqlite":
        from toque.cache import sqlite_triggers

        return sqlite_triggers
    from toque.cache import postgres_triggers

    return postgres_triggers
