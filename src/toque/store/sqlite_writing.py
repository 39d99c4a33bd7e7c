"""One command on SQLite: its statements in its own savepoint on the writer's connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from toque.store import closing
from toque.store.closing import Attached
from toque.store.prepared import Prepared
from toque.store.savepoints import NOT_INNERMOST
from toque.store.sqlite_batch import Act, Command, Lost
from toque.store.sqlite_errors import is_busy, translate
from toque.store.sqlite_plan import lane_of
from toque.store.sqlite_readers import fetch
from toque.store.sqlite_reading import STREAM_ROWS
from toque.store.sqlite_writer import Writer
from toque.store.transaction import ENDED, FAILED, AfterCommit, Build, Cause

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.contract.principal import Principal
    from toque.store.plans import Plans
    from toque.store.sqlite_wall import Wall
    from toque.store.together import Together

__all__ = ["SqliteWriting"]


class SqliteWriting:
    """A command's statements. It takes its turn to write at the first of them."""

    is_command = True

    def __init__(
        self,
        writer: Writer,
        plans: Plans,
        context: Context,
        wall: Wall | None = None,
        together: Together | None = None,
    ) -> None:
        self.plans = plans
        self.context = context
        self.after: list[AfterCommit] = []
        self.attached: list[Attached] = []
        self.cause: Cause | None = None
        self._writer = writer
        self._wall = wall
        self._together = together
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._command = Command(partial(_end, self._done))
        self._has_turn = False
        # SQLite would go on after a failed statement, PostgreSQL cannot: what works on one must work on the
        # other.
        self.has_failed = False
        self._depth = 0
        self._is_closed = False
        self.written: int | None = None
        self._lock = asyncio.Lock()
        self._tables: tuple[Any, ...] = ()

    def announce_more(self) -> None:
        """A command is one transaction whatever it runs."""

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        rows = await self._run(prepared, partial(_fetch, self._text(prepared), arguments, rows_max), arguments)
        return build(rows)

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        affected: int = await self._run(prepared, partial(_execute, self._text(prepared), arguments), arguments)
        return affected

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        affected: int = await self._run(prepared, partial(_execute_many, self._text(prepared), rows))
        return affected

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        # Its rows are not noted, so that memory stays constant: the command cannot be run again from its
        # notes.
        self._command.is_repeatable = False
        cursor = await self._run(prepared, partial(_open, self._text(prepared), arguments))
        while rows := await self._run(prepared, lambda _: cursor.fetchmany(STREAM_ROWS)):
            self._command.notes.clear()
            yield build(rows)

    async def set_savepoint(self) -> int:
        await self._run(_SAVEPOINT, partial(_control, f"SAVEPOINT s{self._depth + 1}"))
        self._depth += 1
        return self._depth

    async def end_savepoint(self, depth: int, *, is_kept: bool) -> None:
        if self._is_closed:
            raise RuntimeError(ENDED)
        if depth != self._depth:
            self.has_failed = True
            raise RuntimeError(NOT_INNERMOST)
        self._depth -= 1
        release = f"RELEASE s{depth}"
        # Noted like any other statement: a command that is repeated from its notes opens, undoes and ends its
        # savepoints as it did the first time.
        await self._act(partial(_control, *((release,) if is_kept else (f"ROLLBACK TO s{depth}", release))))
        self.has_failed = False

    def give_up(self) -> None:
        self.has_failed = True

    async def commit(self) -> None:
        if self._together is None or self._has_turn or self.has_failed or not self.attached:
            await self.commit_alone()
        else:
            await self._together.commit(self)

    def join(self, whole: SqliteWriting) -> None:
        """It was committed as a part of *whole*."""
        self.written, self._is_closed = whole.written, True

    async def commit_alone(self) -> None:
        """Commit, with the writer's batch. Raises: as `commit` does."""
        if self.attached:
            await self._run(_CLOSING, partial(closing.run, self.attached))
        self._is_closed = True
        if not self._has_turn:
            return
        if self.has_failed:
            raise RuntimeError(FAILED)
        self._has_turn = False
        try:
            await self._writer.commit(self._command, self._done)
        except (sqlite3.Error, OverflowError, Lost) as error:
            self.cause = _cause_of(error)
            raise translate(error, self._tables) from error
        self.written = 0

    async def close(self, error: BaseException | None) -> None:
        """Roll back what was not committed."""
        self._is_closed = True
        if self._has_turn:
            self._has_turn = False
            self._writer.roll_back(self._command)

    async def _run(self, prepared: Prepared, act: Act, arguments: Sequence[Any] | None = None) -> Any:
        """Run *act*; with *arguments* it is *prepared* once, which may be cheap."""
        if self._is_closed:
            raise RuntimeError(ENDED)
        if self.has_failed:
            raise RuntimeError(FAILED)
        self._tables = prepared.tables or self._tables
        if self._wall is not None:
            act = partial(_admitted, prepared, self.context.caller, act)
        if arguments is None:
            return await self._act(act, prepared.tables)
        if not prepared.lane:
            act = partial(_looked_at, prepared, self._text(prepared), arguments, act)
        return await self._act(act, prepared.tables, prepared)

    async def _act(self, act: Act, tables: tuple[Any, ...] = (), prepared: Prepared | None = None) -> Any:
        try:
            if not self._has_turn:
                await self._take_turn()
            return await self._writer.run(self._command, act, prepared)
        except asyncio.CancelledError:
            # Nobody knows whether it was still run: a command that goes on from here must not be kept.
            self.has_failed = True
            raise
        except (sqlite3.Error, OverflowError, UnicodeError, Lost) as error:
            self.has_failed = True
            self.cause = _cause_of(error)
            raise translate(error, tables) from error

    def _text(self, prepared: Prepared) -> str:
        return prepared.sql if self._wall is None else self._wall.text(prepared)

    async def _take_turn(self) -> None:
        async with self._lock:
            if not self._has_turn:
                await self._writer.take_turn(self._command, self.context)
                self._has_turn = True


_SAVEPOINT = Prepared("SAVEPOINT")
_CLOSING = Prepared("INSERT", is_write=True, is_system=True)


def _control(*args: Any) -> None:
    *statements, connection = args
    for statement in statements:
        connection.execute(statement)


def _cause_of(error: BaseException) -> Cause | None:
    if isinstance(error, Lost):
        return "undone"
    return "busy" if is_busy(error) else None


def _end(done: asyncio.Future[None], failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _admitted(prepared: Prepared, caller: Principal, act: Act, connection: Any) -> Any:
    """Run *act* when the writer's wall knows on whose behalf; also when it is run again from the notes of a batch."""
    connection.walled.admit(prepared, caller)
    return act(connection)


def _looked_at(prepared: Prepared, sql: str, arguments: Sequence[Any], act: Act, connection: Any) -> Any:
    """Run *act* in the thread, and find out where *prepared* is run from now on."""
    result = act(connection)
    with connection.own_work():
        prepared.lane = lane_of(connection, sql, arguments)
    return result


def _fetch(sql: str, arguments: Sequence[Any], rows_max: int, connection: sqlite3.Connection) -> list[Any]:
    return fetch(connection, sql, arguments, rows_max)


def _execute(sql: str, arguments: Sequence[Any], connection: sqlite3.Connection) -> int:
    changes = connection.total_changes
    cursor = connection.execute(sql, arguments)
    # A RETURNING that nobody reads still has to run to its end.
    rows = cursor.fetchall()
    affected = cursor.rowcount
    cursor.close()
    if affected < 0 and connection.total_changes != changes:
        # The module counts what begins with INSERT, UPDATE or DELETE, not with WITH.
        affected = connection.execute("SELECT changes()").fetchone()[0]
    return max(affected, len(rows))


def _execute_many(sql: str, rows: Sequence[Sequence[Any]], connection: sqlite3.Connection) -> int:
    return max(connection.executemany(sql, rows).rowcount, 0)


def _open(sql: str, arguments: Sequence[Any], connection: sqlite3.Connection) -> sqlite3.Cursor:
    return connection.execute(sql, arguments)
