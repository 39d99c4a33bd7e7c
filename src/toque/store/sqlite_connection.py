"""Connections to one SQLite file, set up for several processes and for full durability."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from toque.store.sqlite_errors import FORBIDDEN_FUNCTION, is_busy

if TYPE_CHECKING:
    from toque.store.sqlite_wall import Wall, Walled

__all__ = ["READER_BUSY_MS", "Connection", "open_reader", "open_writer"]

# A reader waits only for a recovery after a crash; a writer waits for the other processes' batches in short
# turns, so that it can be called off in between (`sqlite_writer`).
READER_BUSY_MS = 5000
WRITER_BUSY_MS = 20
# Several workers that start at once all try to switch the file to WAL, for which SQLite does not wait.
START_TIMEOUT_S = 10.0
# As many texts as an app of a thousand operations has; the module's default is 128.
CACHED_STATEMENTS = 1024


class Connection(sqlite3.Connection):
    """A connection of the module's, which knows the wall that is up on it."""

    walled: Walled | None = None

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """Let the store itself look at the schema, which a wall hides."""
        walled = self.walled
        if walled is not None:
            walled.is_own_work = True
        try:
            yield
        finally:
            if walled is not None:
                walled.is_own_work = False


def open_writer(path: Path, *, is_durable: bool, wall: Wall | None = None) -> Connection:
    """The one connection that writes: WAL; a commit is on the disk when it returns, unless *is_durable* is
    false."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=Connection,
    )
    connection.execute(f"PRAGMA busy_timeout = {WRITER_BUSY_MS}")
    _switch_to_wal(connection)
    connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'OFF'}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function(FORBIDDEN_FUNCTION, 0, _forbid)
    return _behind(wall, connection)


def open_reader(path: Path, wall: Wall | None = None) -> Connection:
    """A connection that refuses to write. One thread at a time may use it."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=Connection,
    )
    connection.execute(f"PRAGMA busy_timeout = {READER_BUSY_MS}")
    return _behind(wall, connection)


def _behind(wall: Wall | None, connection: Connection) -> Connection:
    if wall is not None:
        connection.walled = wall.around(connection)
    return connection


def _forbid() -> NoReturn:
    """What a guarded statement calls for a row that its rule refuses (`guarded_writing`)."""
    raise PermissionError


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
