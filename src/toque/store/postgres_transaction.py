"""One call's statements on PostgreSQL, on one connection, taken at the first of them."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from toque.contract.errors import OutcomeUnknown
from toque.store import closing
from toque.store.closing import Attached
from toque.store.pool import Pool
from toque.store.postgres_connection import Connection
from toque.store.postgres_errors import FAILURES, cause_of, is_from_client, is_lost, translate
from toque.store.postgres_outcome import FindOut
from toque.store.prepared import BY_INDEX, Prepared
from toque.store.replicas import BEYOND, PRIMARY, position
from toque.store.savepoints import NOT_INNERMOST
from toque.store.transaction import ENDED, FAILED, AfterCommit, Build, Cause, RestartInSnapshot

if TYPE_CHECKING:
    from toque.call.context import Context, Mark
    from toque.contract.operation import Isolation
    from toque.store.plans import Plans
    from toque.store.row_security import Caller
    from toque.store.together import Together

__all__ = ["COMMANDS", "SINGLE", "SNAPSHOTS", "PostgresTransaction"]

T = TypeVar("T")

SINGLE = ""
_READ_COMMITTED, _REPEATABLE_READ, _SERIALIZABLE = (
    f"BEGIN ISOLATION LEVEL {level}" for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
)
SNAPSHOTS: dict[Isolation | None, str] = {
    None: f"{_REPEATABLE_READ} READ ONLY",
    "repeatable read": f"{_REPEATABLE_READ} READ ONLY",
    "serializable": f"{_SERIALIZABLE} READ ONLY",
}
COMMANDS: dict[Isolation | None, str] = {
    None: f"{_READ_COMMITTED} READ WRITE",
    "read committed": f"{_READ_COMMITTED} READ WRITE",
    "repeatable read": f"{_REPEATABLE_READ} READ WRITE",
    "serializable": f"{_SERIALIZABLE} READ WRITE",
}

_BY_INDEX = "".join(f";SET LOCAL {name} = off" for name in BY_INDEX)

# Rows that a stream holds at a time: enough that a round trip is worth its price.
STREAM_ROWS = 256


class PostgresTransaction:
    """The statements of a query or a command, as `begin` says. A SINGLE one has no transaction: it can have
    only one."""

    def __init__(
        self,
        pool: Pool[Connection],
        plans: Plans,
        context: Context,
        begin: str,
        *,
        find_out: FindOut | None = None,
        mark: Mark | None = None,
        caller: Caller | None = None,
        together: Together | None = None,
    ) -> None:
        """*find_out* is there for a command: it may have to ask what became of its COMMIT. *mark* is let know where in
        the log that was (see `replicas`)."""
        self.plans = plans
        self.context = context
        self.after: list[AfterCommit] = []
        self.attached: list[Attached] = []
        self.is_command = find_out is not None
        self.has_failed = False
        self.cause: Cause | None = None
        self._pool = pool
        self._begin = begin
        self._find_out = find_out
        self._mark = mark
        self._together = together
        self._number: int | None = None
        self._depth = 0
        self._caller = caller
        self._connection: Connection | None = None
        self._has_begun = False
        self._is_running = False
        self._is_unsynced = False
        self._is_lost = False
        self._is_closed = False
        self._must_restart = False
        self._lock = asyncio.Lock()

    @property
    def must_restart(self) -> bool:
        """Of a query: whether it may run again, because it began without a snapshot or met a change."""
        return self._must_restart or self.cause is not None

    @property
    def written(self) -> int | None:
        return self._number

    def announce_more(self) -> None:
        if not self._has_begun and self._begin == SINGLE:
            self._begin = SNAPSHOTS[None]

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        async with self._lock:
            return build(await self._ask(prepared, lambda at: at.rows(prepared.sql, arguments, rows_max)))

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        async with self._lock:
            return await self._ask(prepared, lambda at: at.affected(prepared.sql, arguments))

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        async with self._lock:
            return await self._ask(prepared, lambda at: at.affected_many(prepared.sql, rows, prepared.is_write))

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        # PostgreSQL has cursors inside of transactions only.
        self.announce_more()
        async with self._lock:
            cursor = await self._ask(prepared, lambda at: at.cursor(prepared.sql, *arguments))
        while True:
            async with self._lock:
                rows = await self._ask(prepared, lambda _: cursor.fetch(STREAM_ROWS))
            if not rows:
                return
            yield build(rows)

    async def ask(self, question: str) -> str | None:
        """The only value that *question* has, as text."""
        connection = await self._next()
        answer: str | None = await self._run(connection.fetchval(question))
        return answer

    async def set_savepoint(self) -> int:
        async with self._lock:
            connection = await self._next(is_write=True)
            await self._run(connection.execute(f"SAVEPOINT s{self._depth + 1}"))
            self._depth += 1
            return self._depth

    async def end_savepoint(self, depth: int, *, is_kept: bool) -> None:
        async with self._lock:
            if depth != self._depth:
                self.has_failed = True
                raise RuntimeError(NOT_INNERMOST)
            if self._is_closed or self._connection is None:
                raise RuntimeError(ENDED)
            self._depth -= 1
            release = f"RELEASE SAVEPOINT s{depth}"
            ending = release if is_kept else f"ROLLBACK TO SAVEPOINT s{depth}; {release}"
            await self._run(self._connection.execute(ending))
            self.has_failed = False

    def give_up(self) -> None:
        self.has_failed = True

    async def commit(self) -> None:
        """Commit together with what is attached, and let the mark know where in the log that was.

        Raises: RuntimeError when a statement had failed: PostgreSQL has undone everything then. OutcomeUnknown.
        """
        if self._together is None or self._has_begun or not self.attached:
            await self.commit_alone()
        else:
            await self._together.commit(self)

    def join(self, whole: PostgresTransaction) -> None:
        """It was committed as a part of *whole*."""
        self._number, self._is_closed = whole._number, True

    async def commit_alone(self) -> None:
        """Commit, in a transaction of its own. Raises: as `commit` does."""
        if self.has_failed and self._connection is not None:
            raise RuntimeError(FAILED)
        connection = await self._next(is_write=True) if self.attached else self._connection
        self._is_closed = True
        if connection is None:
            return
        if self._number is None:
            self._number = await self._run(connection.number(is_assigned=bool(self.attached)))
        try:
            await self._run(connection.execute(f"{closing.sql(self.attached, connection.session)}COMMIT"))
        except BaseException as error:
            connection.session.failed()
            if not self._is_lost or not isinstance(error, Exception):
                raise
            await self._resolve(error)
        else:
            connection.session.heard()
        if self._mark is not None:
            await _leave(self._mark, connection)
        await self.close(None)

    async def _resolve(self, error: Exception) -> None:
        """Come back if the COMMIT whose answer was lost has been done. Raises where it has not, or nobody knows."""
        self.cause = None
        if self._number is None:
            return  # Nothing was written, so nothing can have been lost.
        assert self._find_out is not None, "a command can ask"
        outcome = await self._find_out(self._number, self.context)
        if outcome == "aborted":
            self.cause = "connection lost"
            raise error
        if outcome == "unknown":
            raise OutcomeUnknown(
                "The database was lost while it committed, and cannot say whether the change was made. "
                "Look before you try again, or send the same Idempotency-Key."
            ) from error

    async def close(self, error: BaseException | None) -> None:
        """End what is open and give the connection back; a command that was not committed is rolled back."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_lost:
            connection.terminate()
        elif self._is_running:
            self._pool.mend(connection)
            return
        elif self.cause == "schema changed":
            await connection.forget_plans()
        is_open = not connection.is_closed() and connection.is_in_transaction()
        if is_open or self._is_unsynced:
            ending = "COMMIT" if error is None and not self.has_failed else "ROLLBACK"
            try:
                await connection.execute(ending if is_open else "SELECT 1")
            except FAILURES:
                # The session has ended, and the transaction with it. What was read is of one state all the same.
                self._pool.mend(connection)
                return
            except BaseException:
                self._pool.mend(connection)
                raise
        self._pool.give(connection)

    async def _ask(self, prepared: Prepared, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """Run *prepared*, on behalf of whoever it is for."""
        is_sensitive = self._caller is not None and self._caller.concerns(prepared)
        if is_sensitive:
            # The server knows who is calling until the transaction ends, so there must be one.
            self.announce_more()
        if prepared.is_by_index and not self._has_begun:
            self.announce_more()
            self._begin += _BY_INDEX
        connection = await self._next(prepared.is_write)
        if self._caller is None or not (is_sensitive and prepared.is_system):
            return await self._run(ask(connection))
        # For this statement alone: nothing else of the call, and no savepoint undone, ever finds it switched on.
        await self._run(connection.execute(self._caller.system_on))
        try:
            return await self._run(ask(connection))
        finally:
            if not self._is_running:
                # In a transaction that has failed this fails too, and undoing it undoes the switch.
                with suppress(*FAILURES):
                    await connection.execute(self._caller.system_off)

    async def _next(self, is_write: bool = False) -> Connection:
        """The connection for the next statement."""
        if self._is_closed:
            raise RuntimeError(ENDED)
        if self.has_failed and self.is_command:
            raise RuntimeError(FAILED)
        if self._has_begun:
            if self._begin == SINGLE:
                self._must_restart = True
                raise RestartInSnapshot
            if self._connection is None:
                raise RuntimeError("there was no connection for the statement before; let its error through.")
            return self._connection
        self._has_begun = True
        try:
            connection = await self._pool.take(self.context)
        except BaseException as error:
            self.has_failed = True
            if isinstance(error, FAILURES):
                raise translate(error) from error
            raise
        if self._is_closed:
            self._pool.give(connection)
            raise RuntimeError(ENDED)
        self._connection = connection
        if is_write and self.is_command:
            self._number = await self._run(connection.begin_numbered(self._opening()))
        elif self._begin != SINGLE:
            await self._run(connection.execute(self._opening()))
        return connection

    def _opening(self) -> str:
        """BEGIN and, in the same round trip, who is calling."""
        return self._begin if self._caller is None else f"{self._begin};{self._caller.told(self.context.caller)}"

    async def _run(self, statement: Awaitable[T]) -> T:
        # Left set by a cancellation: nobody knows what the server is doing on this connection then. PostgreSQL answers
        # the COMMIT of what it has undone with ROLLBACK and no error, so it must not come to that.
        self._is_running = True
        try:
            result = await statement
        except CancelledError:
            self.has_failed = True
            raise
        except FAILURES as error:
            self._is_running = False
            self.has_failed = True
            self._note(error)
            raise translate(error) from error
        self._is_running = False
        return result

    def _note(self, error: BaseException) -> None:
        """What *error* means for what comes after it."""
        is_closed = self._connection is None or self._connection.is_closed()
        self._is_lost = is_closed or is_lost(error)
        # Without a COMMIT nothing was kept, so a lost connection is no more than a reason to run again.
        self.cause = "connection lost" if self._is_lost else cause_of(error)
        # A value that asyncpg cannot encode leaves the implicit transaction of the Parse before it open.
        self._is_unsynced = is_from_client(error) and not self._is_lost


async def _leave(mark: Mark, connection: Connection) -> None:
    """What was committed is committed, whatever becomes of the question: then no replica is known to have it."""
    try:
        mark.reach(position(await connection.fetchval(PRIMARY)))
    except FAILURES:
        mark.reach(BEYOND)
