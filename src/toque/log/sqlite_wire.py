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
from toque.store.forking import keep_from_children
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_reader

__all__ = ["SqliteWire"]

LISTEN_S = 0.05
"""How often the file is looked at, which costs two microseconds: another process's event is seen within a tenth of a
second."""

CLAIMS_MAX = 10
"""Times that a claim's file may be removed between opening and locking it, which takes microseconds."""


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
        path = self._folder / quote(name, safe="")
        for _ in range(CLAIMS_MAX):
            file = path.open("w")
            keep_from_children(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            if _is_at(file, path):
                self._held[name] = file
                return True
            # Whoever had it removed the file after it was opened here: what is locked now is nobody's claim.
            file.close()
        return False

    async def release(self, name: str) -> None:
        # Removed while it is locked, so that no worker that ever was leaves a file.
        if file := self._held.pop(name, None):
            if _is_at(file, Path(file.name)):
                os.unlink(file.name)
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


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether *file*, which is locked, is the one that others would open at *path*."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
