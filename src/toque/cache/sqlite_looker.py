"""Looking into SQLite's log of changes without waiting, before every answer from memory."""

from __future__ import annotations

import sqlite3
from typing import Any

from toque.cache.changes import Images
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.cache.sqlite_changes import STATE, is_gap, seen_by, state_of, telling
from toque.contract.errors import Unavailable
from toque.store.sqlite import SqliteStore
from toque.store.sqlite_connection import open_reader

__all__ = ["SqliteLooker"]


class SqliteLooker:
    """Looks into a SQLite file without waiting: whether anything was committed since costs some microseconds, so it is
    asked before every answer, and no answer from memory misses anything.

    Source: SQLite's documentation of PRAGMA data_version and schema_version.
    """

    is_immediate = True
    place = ""

    def __init__(self, store: SqliteStore, images: Images) -> None:
        self._path = store.path
        self._file = store.file
        self._images = images
        self._connection: sqlite3.Connection | None = None
        self._version: Any = None

    def open(self) -> None:
        """Connect. Raises: Unavailable."""
        try:
            self._connection = open_reader(self._path)
        except sqlite3.Error as error:
            raise Unavailable(f"the log of changes cannot be reached: {error}") from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def has_news(self) -> bool:
        """Whether anything was committed since the last `look`. Raises: Unavailable."""
        return bool(self._ask("PRAGMA data_version") != self._version)

    def look(self, before: Snapshot | None) -> Seen:
        """See `Changes.look`. The epoch tells the schema too: a table that was made anew has no triggers."""
        # Before the snapshot: what is committed in between is found by the next look.
        version = self._ask("PRAGMA data_version")
        connection = self._connected()
        try:
            connection.execute("BEGIN")
            try:
                found = self._read(connection, before)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"the log of changes cannot be read: {error}") from error
        self._version = version
        return found

    def _read(self, connection: sqlite3.Connection, before: Snapshot | None) -> Seen:
        def fetch(sql: str, arguments: tuple[int, ...] = ()) -> list[Any]:
            return connection.execute(sql, arguments).fetchall()

        generation, last, first = state_of(fetch(STATE.sql))
        ((schema,),) = fetch("PRAGMA schema_version")
        epoch, seen, now = f"{generation}:{schema}", seen_by(before, last), Snapshot.up_to(last)
        if is_gap(seen, first, last):
            return Seen(epoch, now, (), is_gap=True)
        rows = fetch(telling(seen, last).sql, (seen, last)) if last > seen else ()
        return Seen(epoch, now, tuple(self._images.change(*row) for row in rows))

    def _ask(self, pragma: str) -> Any:
        self._file.check()
        try:
            return self._connected().execute(pragma).fetchone()[0]
        except sqlite3.Error as error:
            raise Unavailable(f"the log of changes cannot be read: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the log of changes is not open")
        return self._connection
