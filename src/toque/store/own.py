"""Toque's own statements, each in a snapshot or a transaction of its own: what it keeps beside the app's rows."""

from __future__ import annotations

from typing import Any

from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["change", "execute", "look", "rows"]


async def rows(database: Database, prepared: Prepared, *arguments: Any) -> list[Any]:
    """The driver's rows of *prepared*, within the transaction of *database*."""
    found: list[Any] = await transaction_of(database).fetch(prepared, arguments, 0, list)
    return found


async def look(store: Store, prepared: Prepared, *arguments: Any) -> list[Any]:
    """The rows of *prepared*, which only reads."""
    return await store.query(lambda database: rows(database, prepared, *arguments))


async def change(store: Store, prepared: Prepared, *arguments: Any) -> list[Any]:
    """The rows that *prepared*, which writes, returns once it is committed."""
    return await store.command(lambda database: rows(database, prepared, *arguments))


async def execute(store: Store, prepared: Prepared, *arguments: Any) -> int:
    """Run *prepared* and commit: the number of rows affected."""
    return await store.command(lambda database: transaction_of(database).execute(prepared, arguments))
