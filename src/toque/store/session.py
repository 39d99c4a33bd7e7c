"""SQLAlchemy's own session over one call's transaction, for whoever wants mapped objects.

SQLAlchemy compiles, flushes and loads as always. Where it would talk to a driver it talks to the call's
`Transaction`, so what a session does shares the snapshot or the transaction with every other statement of the call, and
is observed and stopped alike. A session never commits: the call does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, Engine, NullPool, make_url
from sqlalchemy.exc import NoResultFound, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.types import Float
from sqlalchemy.util import await_only

from toque.contract.errors import Conflict, NotFound
from toque.store.denials import denials_in_session
from toque.store.expansion import UNFIT, unfit
from toque.store.facts import filled
from toque.store.prepared import Prepared
from toque.store.transaction import ALL

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

    from toque.store.plans import Plans
    from toque.store.transaction import Transaction

__all__ = ["open_session"]

# As asyncpg tells a column's type (PostgreSQL's pg_type.dat): all that SQLAlchemy's result processors ask for.
_FLOAT8, _NUMERIC = 701, 1700


@asynccontextmanager
async def open_session(transaction: Transaction, dialect: Dialect) -> AsyncIterator[AsyncSession]:
    """A session whose statements run in *transaction*, written as *dialect* does. What is pending is flushed when the
    block ends well."""
    transaction.announce_more()
    engine = _engine(dialect)
    connection = Connection(engine, _Line(transaction))
    connection.begin()
    bound = AsyncConnection(AsyncEngine(engine), connection)
    # So that a session can take back what it did, and only that. A query has nothing to take back.
    mode: Any = "create_savepoint" if transaction.is_command else "rollback_only"
    session = AsyncSession(bound, expire_on_commit=False, join_transaction_mode=mode)
    try:
        async with session:
            yield session
            await session.commit()
    except SQLAlchemyError as error:
        raise _translated(error) from error


def _translated(error: SQLAlchemyError) -> Exception:
    """What the caller hears of. The store's own errors pass through SQLAlchemy untouched and never come here."""
    if isinstance(error, NoResultFound):
        return NotFound("There is no such row.")
    if isinstance(error, StaleDataError):
        return Conflict("The row was changed or removed by another call; read it again.")
    if isinstance(error, StatementError) and isinstance(error.orig, UNFIT):
        return unfit(error.orig)
    return error


@cache
def _engine(dialect: Any) -> Engine:
    """One for a dialect, as it keeps what SQLAlchemy has compiled."""
    return Engine(NullPool(_refuse), dialect, make_url(f"{dialect.name}://"))


def _refuse() -> NoReturn:
    raise RuntimeError("a session belongs to a call and has its connection; ask for it by db.session().")


class _Line(PoolProxiedConnection):
    """What SQLAlchemy holds for a driver's connection."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.dbapi_connection: Any = self
        self.info: dict[str, Any] = {}
        self._depths: dict[str, int] = {}

    @property
    def is_valid(self) -> bool:
        return True

    @property
    def is_detached(self) -> bool:
        return False

    def cursor(self, *_: Any, **__: Any) -> Any:
        return Cursor(self.transaction)

    def commit(self) -> None:
        """Nothing: the call commits."""

    def rollback(self) -> None:
        """Nothing: what a session takes back lies in a savepoint, and the rest is the call's."""

    def set_savepoint(self, name: str) -> None:
        self._depths[name] = await_only(self.transaction.set_savepoint())

    def end_savepoint(self, name: str, *, is_kept: bool) -> None:
        await_only(self.transaction.end_savepoint(self._depths.pop(name), is_kept=is_kept))

    def close(self) -> None:
        """Nothing: the call gives its connection back."""

    def detach(self) -> None:
        """Nothing: there is no pool to leave."""

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """Nothing: the call's transaction knows by itself what became of its connection."""


class Cursor:
    """A driver's cursor (PEP 249), as far as SQLAlchemy uses one."""

    arraysize = 1
    lastrowid = None

    def __init__(self, transaction: Transaction) -> None:
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._transaction = transaction
        self._rows: list[Any] = []

    def run(self, sql: str, arguments: Sequence[Any], context: Any) -> None:
        """Run one statement; rows, if it has any, are all fetched."""
        compiled, prepared = context.compiled, _prepared(sql, context, self._transaction.plans)
        arguments = self._filled(arguments)
        if not compiled._result_columns:
            self.rowcount = await_only(self._transaction.execute(prepared, arguments))
            self._look(context)
            return
        self._rows = await_only(self._transaction.fetch(prepared, arguments, ALL, list))[::-1]
        self.rowcount = len(self._rows)
        self._look(context)
        self.description = [
            (column.name, _FLOAT8 if isinstance(column.type, Float) else _NUMERIC, *[None] * 5)
            for column in compiled._result_columns
        ]

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]], context: Any) -> None:
        """Run one statement once per row of arguments."""
        self.rowcount = await_only(
            self._transaction.execute_many(
                _prepared(sql, context, self._transaction.plans), [self._filled(row) for row in rows]
            )
        )
        self._look(context)

    def _look(self, context: Any) -> None:
        """Raise what kept a write from rows that it did not affect: the statement's own binds, not a cached one's."""
        rows = context.compiled_parameters
        found = denials_in_session(context.invoked_statement, context.dialect, rows, self.rowcount)
        if found is not None:
            denials, binds = found
            await_only(denials.look(self._transaction, binds, rows, self.rowcount))

    def _filled(self, arguments: Sequence[Any]) -> Sequence[Any]:
        context = self._transaction.context
        if context.reads is not None:
            context.reads.untracked(arguments)
        return filled(arguments, context.caller)

    def fetchone(self) -> Any:
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int = arraysize) -> list[Any]:
        return [self._rows.pop() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        self._rows = []

    async def _async_soft_close(self) -> None:
        """What SQLAlchemy asks of a driver's cursor whose rows it has not read yet: they are all here."""


def _prepared(sql: str, context: Any, plans: Plans) -> Prepared:
    compiled = context.compiled
    if compiled is None or not hasattr(compiled, "_result_columns"):
        raise TypeError("a session runs statements that SQLAlchemy compiles; this one is text or DDL.")
    # Another compiler's statement, from a cache of somebody's own, knows no rules; nor does what a listener of
    # `before_cursor_execute` gives back. Where schemas are translated, a rule would be another table's.
    is_own = compiled.dialect is context.dialect and type(compiled) is context.dialect.statement_compiler
    is_guarded = hasattr(context.dialect, "guard")
    if not is_own or sql != context.statement or (is_guarded and compiled.schema_translate_map):
        raise TypeError(
            "a session runs statements as its own dialect compiles them: without a cache, a listener or a map of "
            "schemas that changes what they say."
        )
    is_write = compiled.isinsert or compiled.isupdate or compiled.isdelete
    tables = (compiled.compile_state.dml_table,) if is_write else ()
    prepared = Prepared(sql, is_write, tables)
    prepared.is_system = plans.is_system and context.dialect is plans.dialect
    prepared.is_guarded = is_guarded
    return prepared
