"""Row level security in migrations: operations of Alembic's.

A revision is written once and runs on both databases; SQLite has no such rules, so the operation only notes there what
it would do. That note is also how the next revision knows what the ones before it add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, Operations

from toque.store.row_security import ACTIONS, Enforced, closed, freed, put_up

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CloseRows", "EnforceRows", "FreeRows", "noted"]

_NOTED = "toque.enforced"


@Operations.register_operation("enforce_rows")
class EnforceRows(MigrateOperation):
    """Have PostgreSQL enforce the rules of a sensitive table."""

    op_name = "enforce_rows"

    def __init__(self, table: str, rules: Enforced) -> None:
        self.table = table
        self.rules = rules

    @classmethod
    def enforce_rows(
        cls,
        operations: Operations,
        table: str,
        *,
        read: str,
        insert: str,
        change: str,
        delete: str,
        apart: Sequence[str] = (),
    ) -> None:
        """Have PostgreSQL enforce these rules of *table*, instead of those before; see `toque.store.row_security`."""
        operations.invoke(cls(table, Enforced(read, insert, change, delete, tuple(apart))))


@Operations.register_operation("free_rows")
class FreeRows(MigrateOperation):
    """Have PostgreSQL enforce nothing on a table any more."""

    op_name = "free_rows"

    def __init__(self, table: str) -> None:
        self.table = table

    @classmethod
    def free_rows(cls, operations: Operations, table: str) -> None:
        """Have PostgreSQL enforce nothing on *table* any more."""
        operations.invoke(cls(table))


@Operations.register_operation("close_rows")
class CloseRows(MigrateOperation):
    """Take a table's rules off and leave it closed, so that columns which they name can go; `enforce_rows` follows."""

    op_name = "close_rows"

    def __init__(self, table: str) -> None:
        self.table = table

    @classmethod
    def close_rows(cls, operations: Operations, table: str) -> None:
        """Take the rules off *table* and leave it closed to all until `enforce_rows` follows."""
        operations.invoke(cls(table))


def noted(connection: Connection) -> dict[str, Enforced]:
    """The rules that the steps run on *connection* add up to, by table."""
    found: dict[str, Enforced | None] = connection.info.get(_NOTED, {})
    return {table: rules for table, rules in found.items() if rules is not None}


# What the operations do.


@Operations.implementation_for(EnforceRows)
def _enforce(operations: Operations, operation: EnforceRows) -> None:
    _run(operations, operation.table, operation.rules, put_up(operation.table, operation.rules))


@Operations.implementation_for(FreeRows)
def _free(operations: Operations, operation: FreeRows) -> None:
    _run(operations, operation.table, None, freed(operation.table))


@Operations.implementation_for(CloseRows)
def _close(operations: Operations, operation: CloseRows) -> None:
    _run(operations, operation.table, None, closed(operation.table))


def _run(operations: Operations, table: str, rules: Enforced | None, statements: list[str]) -> None:
    context = operations.get_context()
    # Offline, Alembic has something else in its place.
    connection = None if context.as_sql else context.connection
    if connection is not None:
        connection.info.setdefault(_NOTED, {})[table] = rules
    if context.dialect.name != "postgresql":
        return
    for statement in statements:
        # Never as text(), for which a colon in a rule would begin a parameter.
        if connection is None:
            context.impl.static_output(f"{statement};")
        else:
            connection.exec_driver_sql(statement)


# How they stand in a file.


@renderers.dispatch_for(EnforceRows)
def _render_enforce(_: Any, operation: EnforceRows) -> str:
    rules = operation.rules
    lines = [f"    {action}={getattr(rules, action)!r}," for action in ACTIONS]
    lines += [f"    apart={rules.apart!r},"] if rules.apart else []
    return "\n".join(["op.enforce_rows(", f"    {operation.table!r},", *lines, ")"])


@renderers.dispatch_for(FreeRows)
def _render_free(_: Any, operation: FreeRows) -> str:
    return f"op.free_rows({operation.table!r})"


@renderers.dispatch_for(CloseRows)
def _render_close(_: Any, operation: CloseRows) -> str:
    return f"op.close_rows({operation.table!r})"
