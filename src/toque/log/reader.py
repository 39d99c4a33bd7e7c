"""The port: reading the log from a place on, without loss and without repetition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.store.store import Store

__all__ = ["PAGE", "Reader", "reader_of"]

PAGE = 500
"""Entries read at a time unless told otherwise: a round trip costs little then, and memory is bounded."""


class Reader(Protocol):
    """Reads one database's log. It keeps nothing: any number of readers may share it."""

    async def read(self, cursor: Cursor, limit: int = PAGE) -> tuple[Sequence[Entry], Cursor]:
        """At most *limit* entries after *cursor* in the order of their positions, and the place after them.

        No entries and a caught-up cursor: there are no more yet.
        """
        ...

    async def now(self) -> Cursor:
        """The place after everything that is committed now."""
        ...

    async def since(self, at: float) -> Cursor:
        """The place before everything kept that was published at *at* (seconds since 1970) or later."""
        ...

    async def at(self, position: int) -> Cursor:
        """The place before everything kept whose position is *position* or higher."""
        ...

    async def begin(self) -> int:
        """Take note of the cluster that the database is in, before anything is published: the epoch's number."""
        ...


def reader_of(store: Store) -> Reader:
    """The reader for *store*'s database."""
    if store.dialect_name == "sqlite":
        from toque.log.sqlite_reader import SqliteReader

        return SqliteReader(store)
    from toque.log.postgres_reader import PostgresReader

    return PostgresReader(store)
