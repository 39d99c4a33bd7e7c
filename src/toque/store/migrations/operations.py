"""What Alembic's vocabulary lacks: operations that are written in a migration as `op.<name>(...)`.

Each is data here. How it is done stands in `postgres_operations.py` and `sqlite_operations.py`; a migration that
was written on one database runs on the other. Further operations (row policies, say) are added alike: a dataclass
with `operation(...)`, and how each database does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from alembic.autogenerate import renderers
from alembic.autogenerate.render import _repr_type
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import RenameTableOp
from sqlalchemy.types import TypeEngine

__all__ = ["IMPLEMENTATIONS", "operation"]

C = TypeVar("C", bound=type)

Implementation = Callable[[Operations, Any], None]
IMPLEMENTATIONS: dict[tuple[type, str], Implementation] = {}
"""By operation and dialect."""


def operation(name: str) -> Callable[[C], C]:
    """Let migrations call a dataclass as `op.<name>`, with its fields as arguments."""

    def register(cls: C) -> C:
        def invoke(cls: Any, operations: Operations, *args: Any, **kw: Any) -> Any:
            return operations.invoke(cls(*args, **kw))

        invoke.__doc__ = cls.__doc__
        cls.op_name = name  # type: ignore[attr-defined]
        cls.invoke = classmethod(invoke)  # type: ignore[attr-defined]
        Operations.register_operation(name, "invoke")(cls)
        Operations.implementation_for(cls)(_implement)
        renderers.dispatch_for(cls)(_render)
        return cls

    return register


def _implement(operations: Operations, step: Any) -> None:
    dialect = operations.impl.dialect.name
    found = IMPLEMENTATIONS.get((type(step), dialect))
    if found is None:
        raise NotImplementedError(f"op.{step.op_name} is not known on {dialect}.")
    found(operations, step)


def _render(context: Any, step: Any) -> str:
    given = [(field, getattr(step, field.name)) for field in fields(step)]
    written = [
        f"{field.name}={_repr_type(value, context) if isinstance(value, TypeEngine) else repr(value)}"
        for field, value in given
        if value != field.default
    ]
    # The first argument is what it is about; the others say themselves what they are.
    first = written[0].partition("=")[2]
    return f"op.{step.op_name}({', '.join([first, *written[1:]])})"


@renderers.dispatch_for(RenameTableOp)
def _render_rename(context: Any, step: RenameTableOp) -> str:
    """Alembic never writes one by itself, and so does not know how."""
    return f"op.rename_table({step.table_name!r}, {step.new_table_name!r}, schema={step.schema!r})"


@operation("backfill")
@dataclass
class Backfill(MigrateOperation):
    """Fill columns of the rows that lack them, a batch of primary keys at a time, each in a transaction of its own.

    Args:
        values: SQL expressions over the row, by column.
        where: which rows; unless given, those where one of the columns is NULL.
        rows: how many are looked at in one batch.
    """

    table: str
    values: dict[str, str]
    where: str = ""
    schema: str | None = None
    # A thousand rows take some ten milliseconds: as long as a request waits without notice.
    rows: int = 1000


@operation("validate_constraint")
@dataclass
class ValidateConstraint(MigrateOperation):
    """Test the rows that were there before a constraint, while reads and writes go on."""

    name: str
    table: str
    schema: str | None = None


@operation("set_not_null")
@dataclass
class SetNotNull(MigrateOperation):
    """Forbid NULL without a scan under lock: a CHECK, validated beside the traffic, is the proof."""

    table: str
    column: str
    schema: str | None = None


@operation("add_unique")
@dataclass
class AddUnique(MigrateOperation):
    """Add a unique constraint whose index is built beside the traffic."""

    name: str
    table: str
    columns: list[str]
    schema: str | None = None
    deferrable: bool | None = None
    initially: str | None = None
    nulls_not_distinct: bool = False


@operation("create_enum")
@dataclass
class CreateEnum(MigrateOperation):
    """Make a type of named values; on SQLite, where text does it, nothing."""

    name: str
    values: list[str]
    schema: str | None = None


@operation("drop_enum")
@dataclass
class DropEnum(MigrateOperation):
    """Remove a type that no column has any more."""

    name: str
    schema: str | None = None


@operation("rename_enum")
@dataclass
class RenameEnum(MigrateOperation):
    """Give a type another name."""

    name: str
    new_name: str
    schema: str | None = None


@operation("add_enum_value")
@dataclass
class AddEnumValue(MigrateOperation):
    """Add a value to a type, in its place among the others."""

    name: str
    value: str
    before: str | None = None
    after: str | None = None
    schema: str | None = None


@operation("begin_type_change")
@dataclass
class BeginTypeChange(MigrateOperation):
    """Add a second column of the new type that follows the first one by a trigger; on SQLite, nothing yet.

    Args:
        using: the new value as SQL, with `{value}` for the old one.
    """

    table: str
    column: str
    type_: TypeEngine[Any]
    using: str
    schema: str | None = None


@operation("backfill_type_change")
@dataclass
class BackfillTypeChange(MigrateOperation):
    """Fill the second column in batches; and forbid NULL in it, if the first one does."""

    table: str
    column: str
    using: str
    nullable: bool = True
    schema: str | None = None


@operation("finish_type_change")
@dataclass
class FinishTypeChange(MigrateOperation):
    """Put the second column in the place of the first; on SQLite, rebuild the table with the new type."""

    table: str
    column: str
    type_: TypeEngine[Any]
    server_default: str | None = None
    schema: str | None = None


@operation("abandon_type_change")
@dataclass
class AbandonTypeChange(MigrateOperation):
    """Remove the second column and what kept it like the first."""

    table: str
    column: str
    schema: str | None = None


@operation("rename_column")
@dataclass
class RenameColumn(MigrateOperation):
    """Give a column another name; indexes, constraints and references go along."""

    table: str
    column: str
    new_name: str
    schema: str | None = None


@operation("rename_constraint")
@dataclass
class RenameConstraint(MigrateOperation):
    """Give a constraint another name."""

    table: str
    name: str
    new_name: str
    schema: str | None = None


@operation("rename_index")
@dataclass
class RenameIndex(MigrateOperation):
    """Give an index another name."""

    table: str
    name: str
    new_name: str
    schema: str | None = None


@operation("create_schema")
@dataclass
class CreateSchema(MigrateOperation):
    """Make a schema, unless it is there."""

    name: str
