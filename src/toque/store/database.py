"""The database as an operation sees it: statements in, views out, all within the one call that it was given
to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from toque.contract.errors import NotFound
from toque.store import after_commit
from toque.store.savepoints import savepoint
from toque.store.transaction import ALL, AfterCommit, Transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.sql.base import Executable

    from toque.store.denials import Denials

__all__ = ["DATABASES", "AllRows", "Database", "transaction_of"]

V = TypeVar("V")
Parameters = Mapping[str, Any]


class Database:
    """What an operation asks for by type; it belongs to one call and ends with it.

    In a query, all that is read is one state of the database, and writing is refused. In a command, all
    statements are one transaction, committed before the caller hears the answer.

    A view is a msgspec Struct, dataclass, attrs class, TypedDict or pydantic model whose fields are named
    like columns, attributes or labels; or the type of a single column. A field that holds views and is named
    like a relationship is read with one more statement.
    """

    __slots__ = ("_plans", "_transaction")

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._plans = transaction.plans.guarded

    async def one(self, view: type[V], statement: Executable, parameters: Parameters | None = None) -> V:
        """The only row. Raises NotFound when there is none, ValueError when there are more."""
        # Two rows are enough to know that it is not the only one.
        rows = await self._read(view, statement, parameters, 2)
        if len(rows) == 1:
            return rows[0]
        if not rows:
            raise NotFound(f"There is no such {getattr(view, '__name__', 'row')}.")
        raise ValueError("expected one row, got more; narrow the statement, or use first() or all().")

    async def first(self, view: type[V], statement: Executable, parameters: Parameters | None = None) -> V | None:
        """The first row, or None when there is none."""
        rows = await self._read(view, statement, parameters, 1)
        return rows[0] if rows else None

    async def all(self, view: type[V], statement: Executable, parameters: Parameters | None = None) -> list[V]:
        """Every row. For more rows than fit into memory there is `stream`."""
        return await self._read(view, statement, parameters, ALL)

    async def scalar(self, statement: Executable, parameters: Parameters | None = None) -> Any:
        """The first row's only column, or None when there is no row."""
        return await self.first(_ANYTHING, statement, parameters)

    async def execute(self, statement: Executable, rows: Sequence[Parameters] | Parameters | None = None) -> int:
        """Run *statement* for its effect, once or once per row of values: the number of rows affected."""
        transaction = self._transaction
        caller = transaction.context.caller
        if rows is None or isinstance(rows, Mapping):
            plan, binds = self._plans.plan(statement, None, rows or ())
            prepared, arguments = plan.arguments(binds, rows, caller)
            if (reads := transaction.context.reads) is not None:
                reads.statement(plan, binds, rows)
            affected = await transaction.execute(prepared, arguments)
            if plan.denials is not None:
                await plan.denials.look(transaction, binds, [rows], affected)
            return affected
        if not rows:
            return 0
        plan, binds = self._plans.plan(statement, None, rows[0])
        each = [plan.arguments(binds, row, caller) for row in rows]
        if (reads := transaction.context.reads) is not None:
            reads.untracked(())  # Whatever it is that a query runs once per row of values.
        affected = await transaction.execute_many(each[0][0], [arguments for _, arguments in each])
        if plan.denials is not None:
            await plan.denials.look(transaction, binds, rows, affected)
        return affected

    async def stream(
        self, view: type[V], statement: Executable, parameters: Parameters | None = None
    ) -> AsyncIterator[V]:
        """Every row in turn, in constant memory."""
        transaction = self._transaction
        plan, binds = self._plans.plan(statement, view, parameters or ())
        if plan.relations:
            raise TypeError("a stream holds its connection, so its view cannot have nested views; use all().")
        prepared, arguments = plan.arguments(binds, parameters, transaction.context.caller)
        if (reads := transaction.context.reads) is not None:
            reads.statement(plan, binds, parameters)
        affected = 0
        async for views in transaction.stream(prepared, arguments, plan.build):
            affected += len(views)
            for item in views:
                yield item
        if plan.denials is not None:
            await plan.denials.look(transaction, binds, [parameters], affected)

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """SQLAlchemy's session in this call's transaction, for mapped objects: `async with db.session() as session:`.

        It flushes when the block ends well, and never commits: the call does. Its `rollback` takes back what it did
        itself since its last `commit`. A lazy load needs `await session.refresh(...)` or a loader option, as in
        SQLAlchemy's documentation ("Asynchronous I/O").
        """
        from toque.store.session import open_session

        return open_session(self._transaction, self._plans.dialect)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """`async with db.savepoint():` an error that leaves it undoes what was done inside, and the command may go on.

        Outside of one, a statement that fails undoes the command as a whole.
        """
        return savepoint(self._transaction)

    def after_commit(self, function: AfterCommit) -> None:
        """Call *function*, plain or async, once the command is committed: before the answer leaves, never after a
        rollback, and once however often the command was run. What it raises is logged and changes nothing.

        It may be lost when the process dies between the two; what must happen belongs into the transaction.
        """
        after_commit.wait(self._transaction, function)

    def _read(
        self, view: type[V], statement: Executable, parameters: Parameters | None, rows_max: int
    ) -> Awaitable[list[V]]:
        transaction = self._transaction
        plan, binds = self._plans.plan(statement, view, parameters or ())
        if plan.relations:
            from toque.store.relations import read

            return read(transaction, plan, binds, parameters, rows_max)
        context = transaction.context
        prepared, arguments = plan.arguments(binds, parameters, context.caller)
        if context.reads is not None:
            context.reads.statement(plan, binds, parameters)
        views: Awaitable[list[V]] = transaction.fetch(prepared, arguments, rows_max, plan.build)
        return views if plan.denials is None else self._looked(views, plan.denials, binds, parameters)

    async def _looked(
        self, reading: Awaitable[list[V]], denials: Denials, binds: Sequence[Any], parameters: Parameters | None
    ) -> list[V]:
        """What a write returned, unless a rule kept it from a row."""
        views = await reading
        await denials.look(self._transaction, binds, [parameters], len(views))
        return views


class AllRows(Database):
    """The database without its rules, for operations of administrators: every row, every field, any SQL.

    It is asked for by type, so that the signature, `toque explain` and the manifest say so.
    """

    __slots__ = ()

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._plans = transaction.plans

    @classmethod
    def of(cls, database: Database) -> AllRows:
        """All rows of the same snapshot or transaction as *database*."""
        return cls(database._transaction)


DATABASES = (Database, AllRows)
"""What an operation may ask for."""

_ANYTHING: Any = object
"""The view of a single column whose type does not matter."""


def transaction_of(database: Database) -> Transaction:
    """The statements behind *database*, for what the store itself keeps beside the app's data."""
    return database._transaction
