"""The port: a database that rows are taken from or brought to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.engine import Dialect

    from toque.store.moving.shape import Shape

__all__ = ["BATCH_ROWS", "STATE_TABLE", "MovingError", "Site", "is_ours", "open_site"]

# Rows that are in memory at a time: a thousand of 1 KB are a megabyte, and a round trip is paid by then.
BATCH_ROWS = 1000

STATE_TABLE = "toque_copy"
"""Stands in the target while a copy is under way, and says how far it has come."""


def is_ours(table: str) -> bool:
    """Whether no app's rows are in it: Toque's own notes of one database, and of the releases that run on it."""
    return table.startswith("toque_") or table == "alembic_version"


class MovingError(Exception):
    """Data cannot be moved as it was asked; the message says why, and what to do."""


class Site(Protocol):
    """One database, open for moving."""

    dialect: Dialect
    label: str
    """What it is called in messages and in the state: its address, without a password."""

    async def close(self) -> None: ...

    async def tables(self) -> set[str]:
        """The names of its tables."""
        ...

    async def has_rows(self, tables: Sequence[Table]) -> list[str]:
        """Which of *tables* have any row."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """What is read within is one state of the database, while others may write."""
        ...

    def rows(self, shape: Shape) -> AsyncIterator[list[Any]]:
        """The driver's rows of one table, some at a time. Within `snapshot` only."""
        ...

    async def count(self, shape: Shape) -> int: ...

    async def sequence(self, table: Table) -> int | None:
        """The last number given to *table*'s key; None where the database gives none."""
        ...

    async def state(self) -> dict[str, str] | None:
        """What `note` wrote; None where no copy is under way."""
        ...

    async def note(self, values: Mapping[str, str]) -> None:
        """Remember *values*, beside those of before."""

    async def forget(self) -> None:
        """Remove the state: the copy is complete."""

    async def begin_loading(self, tables: Sequence[Table]) -> None:
        """Lift what would stop rows that come in any order, and empty *tables*; the state says what to put back."""

    async def empty(self, shape: Shape, noted: Mapping[str, str]) -> None:
        """Delete all rows of one table, and note *noted* in the same transaction."""

    async def load(self, shape: Shape, rows: Sequence[Any], noted: Mapping[str, str]) -> None:
        """Add the driver's *rows*, and note *noted* in the same transaction."""

    async def end_loading(self, tables: Sequence[Table], sequences: Mapping[str, int]) -> None:
        """Put back what was lifted, checking every row, and let keys go on after *sequences*.

        Raises: MovingError where a row refers to one that is not there.
        """


async def open_site(url: str, *, is_new: bool = False) -> Site:
    """The database at *url*.

    Args:
        is_new: whether it may be made: a file of SQLite that is not there yet.
    Raises: Unavailable where it cannot be reached; MovingError where there is none.
    """
    kind = "sqlite" if url.startswith("sqlite") else "postgres"
    site: Site = await import_module(f"toque.store.moving.{kind}").open_site(url, is_new=is_new)
    return site
