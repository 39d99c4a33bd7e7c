"""How PostgreSQL does the operations: short locks, and nothing that a second run would spoil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import Operations
from sqlalchemy import Connection, Index
from sqlalchemy.types import TypeEngine

from toque.store.migrations import backfill
from toque.store.migrations import operations as ops
from toque.store.migrations.limits import limited
from toque.store.migrations.phases import LONG
from toque.store.migrations.quoting import qualified
from toque.store.migrations.session import autocommit, own_transaction

__all__: list[str] = []

SUFFIX = "__new"
"""Of the second column while a type changes."""

_INDEX_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
_CONSTRAINT_EXISTS = (
    "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = :name AND conrelid = to_regclass(:table))"
)


class ShortLocks(PostgresqlImpl):
    """Alembic's statements for PostgreSQL, each complete in itself outside of a transaction, and repeatable.

    It takes the place of Alembic's own class by being declared (`ImplMeta` keeps the last one of a dialect).
    """

    __dialect__ = "postgresql"

    def _exec(self, construct: Any, *args: Any, **kw: Any) -> Any:
        if self.as_sql or self.connection is None or self.connection.in_transaction():
            return super()._exec(construct, *args, **kw)
        with autocommit(self.connection):
            return super()._exec(construct, *args, **kw)

    def create_index(self, index: Index, **kw: Any) -> None:
        if not index.dialect_options["postgresql"]["concurrently"]:
            super().create_index(index, **kw)
            return
        with limited(_operations(self), LONG):
            if _is_built(self, str(index.name), index.table.schema if index.table is not None else None):
                return
            super().create_index(index, **kw)

    def drop_index(self, index: Index, **kw: Any) -> None:
        if not index.dialect_options["postgresql"]["concurrently"]:
            super().drop_index(index, **kw)
            return
        with limited(_operations(self), LONG):
            super().drop_index(index, **{**kw, "if_exists": True})


def _operations(impl: PostgresqlImpl) -> Operations:
    from alembic import op

    operations: Operations = op._proxy  # type: ignore[attr-defined]
    assert operations.impl is impl
    return operations


def _is_built(impl: PostgresqlImpl, name: str, schema: str | None) -> bool:
    """Whether the index is there and whole. What an interrupted CONCURRENTLY left behind is removed: it is
    maintained but never used (PostgreSQL manual, "Building Indexes Concurrently")."""
    if impl.as_sql or impl.connection is None:
        return False
    quoted = _quote(impl, name, schema)
    found = _scalar(impl.connection, _INDEX_IS_VALID, name=quoted)
    if found is False:
        impl._exec(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted}")
    return bool(found)


def _scalar(connection: Connection, sql: str, **arguments: Any) -> Any:
    from sqlalchemy import text

    with own_transaction(connection):
        return connection.execute(text(sql), arguments).scalar()


def _quote(impl: Any, name: str, schema: str | None = None) -> str:
    quote = impl.dialect.identifier_preparer.quote
    return qualified(quote, name, schema)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def on_postgresql(cls: type) -> Callable[[ops.Implementation], ops.Implementation]:
    def register(act: ops.Implementation) -> ops.Implementation:
        ops.IMPLEMENTATIONS[cls, "postgresql"] = act
        return act

    return register


@on_postgresql(ops.Backfill)
def _backfill(operations: Operations, step: ops.Backfill) -> None:
    backfill.run(operations, step)


@on_postgresql(ops.ValidateConstraint)
def _validate(operations: Operations, step: ops.ValidateConstraint) -> None:
    table, name = _quote(operations.impl, step.table, step.schema), _quote(operations.impl, step.name)
    # SHARE UPDATE EXCLUSIVE: reads and writes go on (PostgreSQL manual, ALTER TABLE, Notes).
    with limited(operations, LONG):
        operations.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


@on_postgresql(ops.SetNotNull)
def _set_not_null(operations: Operations, step: ops.SetNotNull) -> None:
    # SET NOT NULL skips its scan "if a valid CHECK constraint is found which proves no NULL can exist" (PostgreSQL
    # manual, ALTER TABLE). Each statement can be run again.
    impl = operations.impl
    table, column = _quote(impl, step.table, step.schema), _quote(impl, step.column)
    proof = f"toque_{step.table}_{step.column}_set"[:63]
    operations.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {_quote(impl, proof)}")
    operations.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT {_quote(impl, proof)} CHECK ({column} IS NOT NULL) NOT VALID"
    )
    _validate(operations, ops.ValidateConstraint(proof, step.table, step.schema))
    operations.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
    operations.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {_quote(impl, proof)}")


@on_postgresql(ops.AddUnique)
def _add_unique(operations: Operations, step: ops.AddUnique) -> None:
    impl: Any = operations.impl
    table, name = _quote(impl, step.table, step.schema), _quote(impl, step.name)
    connection = impl.connection
    if not impl.as_sql and _scalar(connection, _CONSTRAINT_EXISTS, name=step.name, table=table):
        return
    columns = ", ".join(_quote(impl, column) for column in step.columns)
    nulls = " NULLS NOT DISTINCT" if step.nulls_not_distinct else ""
    timing = {True: " DEFERRABLE", False: " NOT DEFERRABLE", None: ""}[step.deferrable]
    timing += f" INITIALLY {step.initially}" if step.initially else ""
    with limited(operations, LONG):
        if not _is_built(impl, step.name, step.schema):
            operations.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns}){nulls}")
    operations.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}{timing}")


@on_postgresql(ops.CreateEnum)
def _create_enum(operations: Operations, step: ops.CreateEnum) -> None:
    values = ", ".join(map(_literal, step.values))
    operations.execute(f"CREATE TYPE {_quote(operations.impl, step.name, step.schema)} AS ENUM ({values})")


@on_postgresql(ops.DropEnum)
def _drop_enum(operations: Operations, step: ops.DropEnum) -> None:
    operations.execute(f"DROP TYPE {_quote(operations.impl, step.name, step.schema)}")


@on_postgresql(ops.RenameEnum)
def _rename_enum(operations: Operations, step: ops.RenameEnum) -> None:
    impl = operations.impl
    new_name = _quote(impl, step.new_name)
    operations.execute(f"ALTER TYPE {_quote(impl, step.name, step.schema)} RENAME TO {new_name}")


@on_postgresql(ops.AddEnumValue)
def _add_enum_value(operations: Operations, step: ops.AddEnumValue) -> None:
    place = (
        f" BEFORE {_literal(step.before)}" if step.before else f" AFTER {_literal(step.after)}" if step.after else ""
    )
    name = _quote(operations.impl, step.name, step.schema)
    operations.execute(f"ALTER TYPE {name} ADD VALUE IF NOT EXISTS {_literal(step.value)}{place}")


@on_postgresql(ops.BeginTypeChange)
def _begin_type_change(operations: Operations, step: ops.BeginTypeChange) -> None:
    impl = operations.impl
    table, new = _quote(impl, step.table, step.schema), _quote(impl, step.column + SUFFIX)
    follower = _follower(impl, step)
    value = step.using.format(value=f"NEW.{_quote(impl, step.column)}")
    operations.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {new} {_compiled(impl, step.type_)}")
    operations.execute(
        f"CREATE FUNCTION {follower}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        f"BEGIN NEW.{new} := {value}; RETURN NEW; END $$"
    )
    operations.execute(
        f"CREATE TRIGGER {_quote(impl, _follower_name(step))} BEFORE INSERT OR UPDATE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {follower}()"
    )


@on_postgresql(ops.BackfillTypeChange)
def _backfill_type_change(operations: Operations, step: ops.BackfillTypeChange) -> None:
    impl = operations.impl
    old, new = _quote(impl, step.column), step.column + SUFFIX
    where = f"{_quote(impl, new)} IS NULL AND {old} IS NOT NULL"
    backfill.run(operations, ops.Backfill(step.table, {new: step.using.format(value=old)}, where, step.schema))
    if not step.nullable:
        _set_not_null(operations, ops.SetNotNull(step.table, new, step.schema))


@on_postgresql(ops.FinishTypeChange)
def _finish_type_change(operations: Operations, step: ops.FinishTypeChange) -> None:
    impl = operations.impl
    table, old = _quote(impl, step.table, step.schema), _quote(impl, step.column)
    new = _quote(impl, step.column + SUFFIX)
    _unfollow(operations, step)
    operations.execute(f"ALTER TABLE {table} DROP COLUMN {old}")
    operations.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    if step.server_default is not None:
        operations.execute(f"ALTER TABLE {table} ALTER COLUMN {old} SET DEFAULT {step.server_default}")


@on_postgresql(ops.AbandonTypeChange)
def _abandon_type_change(operations: Operations, step: ops.AbandonTypeChange) -> None:
    impl = operations.impl
    table, new = _quote(impl, step.table, step.schema), _quote(impl, step.column + SUFFIX)
    _unfollow(operations, step)
    operations.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {new}")


def _unfollow(operations: Operations, step: Any) -> None:
    impl = operations.impl
    table, trigger = _quote(impl, step.table, step.schema), _quote(impl, _follower_name(step))
    operations.execute(f"DROP TRIGGER IF EXISTS {trigger} ON {table}")
    operations.execute(f"DROP FUNCTION IF EXISTS {_follower(impl, step)}()")


def _follower(impl: Any, step: Any) -> str:
    return _quote(impl, _follower_name(step), step.schema)


def _follower_name(step: Any) -> str:
    return f"toque_{step.table}_{step.column}_follows"[:63]


def _compiled(impl: Any, type_: TypeEngine[Any]) -> str:
    return str(type_.compile(dialect=impl.dialect))


@on_postgresql(ops.RenameColumn)
def _rename_column(operations: Operations, step: ops.RenameColumn) -> None:
    impl = operations.impl
    table = _quote(impl, step.table, step.schema)
    operations.execute(
        f"ALTER TABLE {table} RENAME COLUMN {_quote(impl, step.column)} TO {_quote(impl, step.new_name)}"
    )


@on_postgresql(ops.RenameConstraint)
def _rename_constraint(operations: Operations, step: ops.RenameConstraint) -> None:
    impl = operations.impl
    table = _quote(impl, step.table, step.schema)
    operations.execute(
        f"ALTER TABLE {table} RENAME CONSTRAINT {_quote(impl, step.name)} TO {_quote(impl, step.new_name)}"
    )


@on_postgresql(ops.RenameIndex)
def _rename_index(operations: Operations, step: ops.RenameIndex) -> None:
    impl = operations.impl
    index = _quote(impl, step.name, step.schema)
    operations.execute(f"ALTER INDEX {index} RENAME TO {_quote(impl, step.new_name)}")


@on_postgresql(ops.CreateSchema)
def _create_schema(operations: Operations, step: ops.CreateSchema) -> None:
    operations.execute(f"CREATE SCHEMA IF NOT EXISTS {_quote(operations.impl, step.name)}")
