"""One call's statements on PostgreSQL, on one connection, taken at the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from toque.store.pool import Pool
from toque.store.postgres_connection import Connection
from toque.store.postgres_errors import FAILURES, is_from_client, is_stale_plan, translate
from toque.store.prepared import Prepared
from toque.store.replicas import BEYOND, PRIMARY, position
from toque.store.transaction import ENDED, FAILED, Build, RestartInSnapshot

if TYPE_CHECKING:
    from toque.call.context import Context, Mark
    from toque.store.plans import Plans

__all__ = ["COMMAND", "SINGLE", "SNAPSHOT", "PostgresTransaction"]

T = TypeVar("T")

SINGLE = ""
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
COMMAND = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

# Rows that a stream holds at a time: enough that a round trip is worth its price.
STREAM_ROWS = 256


class PostgresTransaction:
    """The statements of a query or a command, as `begin` says. A SINGLE one has no transaction: it can have
    only one."""

    def __init__(self, pool: Pool[Connection], plans: Plans, context: Context, begin: str) -> None:
        self.plans = plans
        self.context = context
        self.must_restart = False
        self._pool = pool
        self._begin = begin
        self._connection: Connection | None = None
        self._has_begun = False
        self._has_failed = False
        self._is_running = False
        self._is_unsynced = False
        self._is_closed = False
        self._lock = asyncio.Lock()

    def announce_more(self) -> None:
        if not self._has_begun and self._begin == SINGLE:
            self._begin = SNAPSHOT

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        async with self._lock:
            connection = await self._next()
            return build(await self._run(connection.rows(prepared.sql, arguments, rows_max)))

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        async with self._lock:
            connection = await self._next()
            return await self._run(connection.affected(prepared.sql, arguments))

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        async with self._lock:
            connection = await self._next()
            return await self._run(connection.affected_many(prepared.sql, rows, prepared.is_write))

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        # PostgreSQL has cursors inside of transactions only.
        self.announce_more()
        async with self._lock:
            connection = await self._next()
            cursor = await self._run(connection.cursor(prepared.sql, *arguments))
        while True:
            async with self._lock:
                rows = await self._run(cursor.fetch(STREAM_ROWS))
            if not rows:
                return
            yield build(rows)

    async def ask(self, question: str) -> str | None:
        """The only value that *question* has, as text."""
        connection = await self._next()
        answer: str | None = await self._run(connection.fetchval(question))
        return answer

    async def commit(self, mark: Mark | None = None) -> None:
        """Commit, and let *mark* know where in the log that was (see `replicas`).

        Raises: RuntimeError when a statement had failed: PostgreSQL has undone everything then.
        """
        self._is_closed = True
        connection = self._connection
        if connection is None:
            return
        if self._has_failed:
            await self.close(RuntimeError(FAILED))
            raise RuntimeError(FAILED)
        await self._run(connection.execute("COMMIT"))
        if mark is not None:
            await _leave(mark, connection)
        await self.close(None)

    async def close(self, error: BaseException | None) -> None:
        """End what is open and give the connection back; a command that was not committed is rolled back."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_running:
            self._pool.mend(connection)
            return
        is_open = not connection.is_closed() and connection.is_in_transaction()
        if is_open or self._is_unsynced:
            ending = "COMMIT" if error is None and not self._has_failed else "ROLLBACK"
            try:
                await connection.execute(ending if is_open else "SELECT 1")
            except BaseException:
                self._pool.mend(connection)
                raise
        self._pool.give(connection)

    async def _next(self) -> Connection:
        """The connection for the next statement."""
        if self._is_closed:
            raise RuntimeError(ENDED)
        if self._has_failed and self._begin == COMMAND:
            raise RuntimeError(FAILED)
        if self._has_begun:
            if self._begin == SINGLE:
                self.must_restart = True
                raise RestartInSnapshot
            assert self._connection is not None
            return self._connection
        self._has_begun = True
        try:
            connection = await self._pool.take()
        except FAILURES as error:
            raise translate(error) from error
        if self._is_closed:
            self._pool.give(connection)
            raise RuntimeError(ENDED)
        self._connection = connection
        if self._begin != SINGLE:
            await self._run(connection.execute(self._begin))
        return connection

    async def _run(self, statement: Awaitable[T]) -> T:
        # Left set by a cancellation: nobody knows what the server is doing on this connection then.
        self._is_running = True
        try:
            result = await statement
        except FAILURES as error:
            self._is_running = False
            self._has_failed = True
            # A value that asyncpg cannot encode leaves the implicit transaction of the Parse before it open.
            self._is_unsynced = is_from_client(error) and not self._connection_is_closed()
            # The schema changed under a prepared statement, which is noticed once; a query can start again.
            if is_stale_plan(error) and self._begin == SNAPSHOT:
                self.must_restart = True
            raise translate(error) from error
        self._is_running = False
        return result

    def _connection_is_closed(self) -> bool:
        return self._connection is None or self._connection.is_closed()


async def _leave(mark: Mark, connection: Connection) -> None:
    """What was committed is committed, whatever becomes of the question: then no replica is known to have it."""
    try:
        mark.reach(position(await connection.fetchval(PRIMARY)))
    except FAILURES:
        mark.reach(BEYOND)
