"""A wire to SQLite: a connection that looks, the file's own time as a doorbell, and locked files as claims.

A lock is the kernel's (flock(2)): it ends with the process, also with one that was killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from toque.contract.errors import Unavailable
from toque.log.probe import Probe
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_reader

__all__ = ["SqliteWire"]

LISTEN_S = 0.05
"""How often the file is looked at, which costs two microseconds: another process's event is seen within a tenth of a
second."""


class SqliteWire:
    """See `Wire`."""

    def __init__(self, url: str, probes: Sequence[Probe], on_heard: Callable[[], None]) -> None:
        path = path_of(url)
        assert path is not None, "a store knows its file"
        self._path = path
        self._folder = path.with_name(f"{path.name}-claims")
        self._on_heard = on_heard
        asked = ", ".join(["coalesce((SELECT max(pos) FROM toque_event), ?1)", *(probe.sqlite for probe in probes)])
        self._sql = f"SELECT {asked}"
        self._last = 0
        self._connection: sqlite3.Connection | None = None
        self._listening: asyncio.Task[None] | None = None
        self._held: dict[str, IO[str]] = {}

    async def open(self) -> None:
        try:
            self._connection = open_reader(self._path)
        except sqlite3.Error as error:
            raise Unavailable(f"the log cannot be reached: {error}") from error
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        self._cut()

    async def look(self) -> Sequence[float | None]:
        assert self._connection is not None, "it was opened"
        try:
            row: list[float | None] = list(self._connection.execute(self._sql, (self._last,)).fetchone())
        except sqlite3.Error as error:
            self._cut()
            raise Unavailable(f"the log cannot be followed: {error}") from error
        self._last = int(row[0] or 0)
        return row[1:]

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        assert self._connection is not None, "it was opened"
        try:
            return self._connection.execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            self._cut()
            raise Unavailable(f"the log cannot be followed: {error}") from error

    async def ring(self) -> None:
        """The commit itself has changed the file."""

    async def claim(self, name: str) -> bool:
        if name in self._held:
            return True
        self._folder.mkdir(exist_ok=True)
        file = (self._folder / quote(name, safe="")).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._held[name] = file
        return True

    async def release(self, name: str) -> None:
        # The file stays: were it removed, somebody could lock the removed one while another locks a new one.
        if file := self._held.pop(name, None):
            file.close()

    def _cut(self) -> None:
        for file in self._held.values():
            file.close()
        self._held.clear()
        if self._listening is not None:
            self._listening.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _listen(self) -> None:
        wal = Path(f"{self._path}-wal")
        before = _state(wal)
        while True:
            await asyncio.sleep(LISTEN_S)
            now = _state(wal)
            if now != before:
                before = now
                self._on_heard()


def _state(file: Path) -> tuple[int, int]:
    # Whatever keeps it from being seen: looking by the clock goes on.
    with suppress(OSError):
        found = os.stat(file)
        return found.st_mtime_ns, found.st_size
    return 0, 0
