"""Reads of SQLite: a few read-only connections, the loop's own thread for what is cheap, and threads for the
rest."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting
from toque.store.sqlite_connection import open_reader
from toque.store.sqlite_errors import is_interrupted
from toque.store.sqlite_plan import Budget, OverBudget

if TYPE_CHECKING:
    from toque.store.sqlite_wall import Wall

__all__ = ["Reader", "Readers", "fetch", "stop_statement"]

T = TypeVar("T")

# Reads that are no reads by key: SQLite's work gives up the interpreter lock, so a few can use a second core.
THREADS = 4
# A thread may be between two instructions when it is told to stop, and miss it: it is told again.
STOP_AGAIN_S = 0.005


class Reader:
    """One read-only connection, used by one call at a time."""

    def __init__(self, path: Path, wall: Wall | None) -> None:
        self.connection = open_reader(path, wall)
        self._budget = Budget(self.connection)

    def fetch_here(self, sql: str, arguments: Sequence[Any], rows_max: int) -> list[Any]:
        """Run it in this thread. Raises OverBudget when that takes too long."""
        self._budget.begin()
        try:
            return fetch(self.connection, sql, arguments, rows_max)
        except sqlite3.OperationalError as error:
            if is_interrupted(error):
                raise OverBudget from error
            raise
        finally:
            self._budget.end()

    def leave_loop(self) -> None:
        """What follows runs in a thread."""
        self._budget.leave_loop()


def fetch(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any], rows_max: int) -> list[Any]:
    cursor = connection.execute(sql, arguments)
    try:
        return cursor.fetchmany(rows_max) if rows_max else cursor.fetchall()
    finally:
        # A cursor that is not at its end would hold its snapshot into the next call.
        cursor.close()


def stop_statement(connection: sqlite3.Connection, is_over: Callable[[], bool]) -> None:
    """Interrupt what *connection* runs, again and again until *is_over*."""
    if is_over():
        return
    connection.interrupt()
    asyncio.get_running_loop().call_later(STOP_AGAIN_S, stop_statement, connection, is_over)


class Readers:
    """The connections that read, and the threads for what is not cheap."""

    def __init__(self, path: Path, size: int, waiting_max: int) -> None:
        self.wall: Wall | None = None
        """What is put around sensitive tables."""
        self._path = path
        self._size = size
        self._idle: list[Reader] = []
        self._all: list[Reader] = []
        self.waiting: Waiting[Reader] = Waiting(
            "readers", size, waiting_max, give_back=self.give, in_use=lambda: len(self._all) - len(self._idle)
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="toque-sqlite-reader")

    async def take(self, context: Context = UNCALLED) -> Reader:
        """A connection that nobody else uses; waits for one when all are taken.

        Raises: Overloaded when the line says so.
        """
        if self._idle:
            return self._idle.pop()
        if len(self._all) < self._size:
            reader = Reader(self._path, self.wall)
            self._all.append(reader)
            return reader
        return await self.waiting.turn(context)

    def give(self, reader: Reader) -> None:
        """Take a connection back and hand it to whose turn it is."""
        if not self.waiting.hand_over(reader):
            self._idle.append(reader)

    def submit(self, reader: Reader, act: Callable[[], T]) -> asyncio.Future[T]:
        """Start *act*, which uses *reader*, in a thread."""
        reader.leave_loop()
        return asyncio.get_running_loop().run_in_executor(self._threads, act)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        for reader in self._all:
            reader.connection.close()
        self._all.clear()
        self._idle.clear()
