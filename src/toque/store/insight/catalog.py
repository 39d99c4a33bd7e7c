"""What a database says of its tables and indexes, in the same words for both kinds; and the trial of an index."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from msgspec import Struct

from toque.store.insight.statistics import Cost

__all__ = ["Catalog", "Index", "Table", "Trial", "open_catalog"]


class Index(Struct, kw_only=True):
    """One index, by its columns in order."""

    name: str
    columns: list[str]
    """An expression has no column and stands as an empty text."""
    is_unique: bool = False
    is_constraint: bool = False
    """Whether it belongs to a key or a rule, and so cannot be dropped by itself."""
    is_partial: bool = False
    scans: int | None = None
    """How often it was used; None where the database does not count."""


class Table(Struct, kw_only=True):
    """One table."""

    name: str
    rows: int
    """About how many."""
    bytes: int = 0
    columns: list[str] = []
    indexes: list[Index] = []
    foreign_keys: list[tuple[list[str], str]] = []
    """The columns of each, and the table that they refer to."""
    scans: int | None = None
    """How often it was looked into, by whatever way; None where the database does not count."""


class Trial(Struct, kw_only=True):
    """A statement's plan without an index and with it."""

    helps: bool = False
    words: str = ""
    """Both plans, in short."""
    why_not: str = ""
    """Why it could not be tried without harm; empty where it was."""


class Catalog(Protocol):
    """One database, opened to be looked at."""

    has_counters: bool
    """Whether the database counts how often an index is used."""

    async def tables(self) -> list[Table]: ...

    async def costs(self) -> list[Cost] | None:
        """What the database itself has counted of statements, the dearest first; None where it does not."""
        ...

    async def trial(self, sql: str, table: Table, columns: list[str]) -> Trial:
        """What an index on *columns* of *table* would do for *sql*."""
        ...

    async def plan(self, sql: str) -> str:
        """How *sql* is run now; empty where it cannot be planned."""
        ...

    def create(self, table: str, columns: list[str]) -> str:
        """The statement that makes an index beside running writers."""
        ...

    def drop(self, index: str) -> str:
        """The statement that removes one."""
        ...

    async def close(self) -> None: ...


async def open_catalog(url: str) -> Catalog:
    """The database at *url*, read-only. Raises: Unavailable."""
    kind = "sqlite" if url.startswith("sqlite") else "postgres"
    catalog: Catalog = await import_module(f"toque.store.insight.{kind}_catalog").open_catalog(url)
    return catalog


def index_name(table: str, columns: list[str]) -> str:
    """As a model's own naming gives it (`models.NAMES`)."""
    return f"ix_{table}_{'_'.join(columns)}"
