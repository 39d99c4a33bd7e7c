"""One query on SQLite: its statements on one reader, in the loop or in a thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from toque.store.closing import Attached
from toque.store.prepared import Prepared
from toque.store.sqlite_errors import translate
from toque.store.sqlite_plan import IN_LOOP, IN_THREAD, OverBudget, lane_of
from toque.store.sqlite_readers import Reader, Readers, fetch, stop_statement
from toque.store.transaction import ENDED, READS, AfterCommit, Build, RestartInSnapshot

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.store.plans import Plans

__all__ = ["SqliteReading"]

T = TypeVar("T")

# Rows that a stream holds at a time: enough that a thread's turn is worth its price.
STREAM_ROWS = 256


class SqliteReading:
    """A query's statements; without a snapshot there can be only one."""

    is_command = False
    cause = None

    __slots__ = (
        "_has_begun",
        "_has_snapshot",
        "_is_closed",
        "_lock",
        "_reader",
        "_readers",
        "_running",
        "after",
        "attached",
        "context",
        "has_failed",
        "must_restart",
        "plans",
    )

    def __init__(self, readers: Readers, plans: Plans, context: Context, has_snapshot: bool) -> None:
        self.plans = plans
        self.context = context
        self.after: list[AfterCommit] = []
        self.attached: list[Attached] = []
        self.must_restart = self.has_failed = False
        self._readers = readers
        self._reader: Reader | None = None
        self._has_snapshot = has_snapshot
        self._has_begun = False
        self._is_closed = False
        self._running: asyncio.Future[Any] | None = None
        self._lock = asyncio.Lock() if has_snapshot else None

    def announce_more(self) -> None:
        if not self._has_begun and not self._has_snapshot:
            self._has_snapshot = True
            self._lock = asyncio.Lock()

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        if self._lock is None:
            return await self._fetch(prepared, arguments, rows_max, build)
        # One connection does one thing at a time, whatever the operation gathers.
        async with self._lock:
            return await self._fetch(prepared, arguments, rows_max, build)

    async def _fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        reader = await self._next()
        sql = self._admitted(reader, prepared)
        try:
            if self._lane(reader, prepared, sql, arguments) == IN_LOOP:
                try:
                    return build(reader.fetch_here(sql, arguments, rows_max))
                except OverBudget:
                    prepared.lane = IN_THREAD
            act = partial(fetch, reader.connection, sql, arguments, rows_max)
            return await self._in_thread(reader, lambda: build(act()))
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self.has_failed = True
            raise translate(error) from error

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        return len(await self.fetch(prepared, arguments, 0, list))

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        return sum([await self.execute(prepared, row) for row in rows])

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        reader = await self._next()
        cursor = None
        try:
            sql = self._admitted(reader, prepared)
            cursor = await self._in_thread(reader, partial(reader.connection.execute, sql, arguments))
            while rows := await self._in_thread(reader, partial(cursor.fetchmany, STREAM_ROWS)):
                yield build(rows)
                # Its reader may have run something else meanwhile.
                self._admitted(reader, prepared)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self.has_failed = True
            raise translate(error) from error
        finally:
            if cursor is not None and not self._is_closed:
                cursor.close()

    async def set_savepoint(self) -> int:
        raise PermissionError(READS)

    async def end_savepoint(self, depth: int, *, is_kept: bool) -> None:
        raise PermissionError(READS)

    def give_up(self) -> None:
        """A query keeps nothing anyway."""

    async def close(self, error: BaseException | None) -> None:
        self._is_closed = True
        reader, self._reader = self._reader, None
        if reader is None:
            return
        running = self._running
        if running is None or running.done():
            self._give_back(reader)
            return
        # Nobody waits for the statement any more: stop it; the thread gives the connection back when it is
        # out of it.
        running.add_done_callback(lambda done: self._give_back(reader))
        stop_statement(reader.connection, running.done)

    def _give_back(self, reader: Reader) -> None:
        if reader.connection.in_transaction:
            reader.connection.execute("COMMIT")
        self._readers.give(reader)

    async def _next(self) -> Reader:
        """The connection for the next statement."""
        if self._is_closed:
            raise RuntimeError(ENDED)
        if self._has_begun and not self._has_snapshot:
            self.must_restart = True
            raise RestartInSnapshot
        is_first, self._has_begun = not self._has_begun, True
        if self._reader is None:
            try:
                reader = await self._readers.take(self.context)
            except BaseException:
                self.has_failed = True
                raise
            if self._is_closed:
                self._readers.give(reader)
                raise RuntimeError(ENDED)
            self._reader = reader
        if is_first and self._has_snapshot:
            self._reader.connection.execute("BEGIN")
        return self._reader

    def _admitted(self, reader: Reader, prepared: Prepared) -> str:
        """The text to run, when the reader's wall knows on whose behalf."""
        walled = reader.connection.walled
        if walled is None or self._readers.wall is None:
            return prepared.sql
        sql = self._readers.wall.text(prepared)
        walled.admit(prepared, self.context.caller)
        return sql

    def _lane(self, reader: Reader, prepared: Prepared, sql: str, arguments: Sequence[Any]) -> int:
        if not prepared.lane:
            with reader.connection.own_work():
                prepared.lane = lane_of(reader.connection, sql, arguments)
        return prepared.lane

    async def _in_thread(self, reader: Reader, act: Callable[[], T]) -> T:
        self._running = running = self._readers.submit(reader, act)
        # A cancelled call must not cancel this: the connection is free when the thread is, not before (see
        # `close`).
        running.add_done_callback(_hear)
        await asyncio.wait((running,))
        return running.result()


def _hear(running: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not running.cancelled():
        running.exception()
