"""How SQLite does the operations: most alterations rebuild the table, in one transaction, losing nothing of it.

Alembic rebuilds as SQLite's documentation says ("Making Other Kinds Of Table Schema Changes"). What it cannot
reflect and would lose is kept here: as text, triggers and indexes that are over more than columns as they are;
collations, AUTOINCREMENT with the last number that it gave, and checks without a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations import Operations
from sqlalchemy import CheckConstraint, Connection, String, Table, text

from toque.store.migrations import backfill
from toque.store.migrations import operations as ops
from toque.store.migrations.facts import named
from toque.store.migrations.session import own_transaction
from toque.store.migrations.sqlite_declared import declared, generated_as, indexed

__all__: list[str] = []

_REBUILT = "_alembic_tmp_"
_TRIGGERS = text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")


class _Attached(NamedTuple):
    """What a table takes along when it is dropped."""

    statements: list[str]
    """That make its triggers, and the indexes asked for."""
    last_number: int | None
    """That AUTOINCREMENT has given; None where it is not numbered so."""


class WholeRebuilds(SQLiteImpl):
    """Alembic's statements for SQLite; it takes the place of Alembic's own class by being declared."""

    __dialect__ = "sqlite"

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._attached: dict[str, _Attached] = {}

    def _exec(self, construct: Any, *args: Any, **kw: Any) -> Any:
        if self.as_sql or self.connection is None:
            return super()._exec(construct, *args, **kw)
        with own_transaction(self.connection):
            return super()._exec(construct, *args, **kw)

    def prep_table_for_batch(self, batch_impl: Any, table: Table) -> None:
        if self.connection is None:
            return
        collations, is_numbered = declared(self.connection, table.name)
        batch_impl.new_table.dialect_options["sqlite"]["autoincrement"] = is_numbered
        for name, column in batch_impl.columns.items():
            if column.computed is not None:
                batch_impl.column_transfers.get(column.name, {}).pop("expr", None)  # It is computed, not copied.
                if not str(column.computed.sqltext):
                    column.computed.sqltext = text(generated_as(self.connection, table.name, column.name))
            # A type that is another object is one that the step gives it.
            if name in collations and column.type is table.columns[name].type and isinstance(column.type, String):
                column.type = column.type.copy()
                column.type.collation = collations[name]
        gone = {column.name for column in table.columns} - batch_impl.columns.keys()
        for check in table.constraints:
            if isinstance(check, CheckConstraint) and not check.name and not named(gone, [str(check.sqltext)]):
                batch_impl.new_table.append_constraint(CheckConstraint(text(str(check.sqltext))))
        for name, index in indexed(self.connection, table.name).items():
            if not index.is_plain:
                batch_impl.indexes.pop(name, None)

    def drop_table(self, table: Table, **kw: Any) -> None:
        if self.connection is not None and not self.as_sql:
            with own_transaction(self.connection):
                self._attached[table.name] = _attached(self.connection, table.name, has_plain_indexes=False)
        super().drop_table(table, **kw)

    def rename_table(self, old_table_name: str, new_table_name: Any, schema: Any = None) -> None:
        super().rename_table(old_table_name, new_table_name, schema)
        attached = self._attached.pop(str(new_table_name), None)
        if old_table_name.startswith(_REBUILT) and attached is not None and self.connection is not None:
            with own_transaction(self.connection):
                _restore(self.connection, str(new_table_name), attached)


def _attached(connection: Connection, table: str, *, has_plain_indexes: bool) -> _Attached:
    found = indexed(connection, table).values()
    statements = [index.sql for index in found if has_plain_indexes or not index.is_plain]
    statements += connection.execute(_TRIGGERS, {"table": table}).scalars()
    last_number = None
    if declared(connection, table).is_numbered:
        query = text("SELECT max(seq) FROM sqlite_sequence WHERE name = :table")
        last_number = connection.execute(query, {"table": table}).scalar()
    return _Attached(statements, last_number)


def _restore(connection: Connection, table: str, attached: _Attached) -> None:
    for sql in attached.statements:
        connection.exec_driver_sql(sql)
    if attached.last_number is not None:
        # It was dropped with the table, and the rows that are left do not tell of those that are gone.
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
        kept = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :seq)")
        connection.execute(kept, {"table": table, "seq": attached.last_number})


def _quote(impl: Any, name: str) -> str:
    return str(impl.dialect.identifier_preparer.quote(name))


def on_sqlite(*classes: type) -> Callable[[ops.Implementation], ops.Implementation]:
    def register(act: ops.Implementation) -> ops.Implementation:
        for cls in classes:
            ops.IMPLEMENTATIONS[cls, "sqlite"] = act
        return act

    return register


@on_sqlite(ops.CreateSchema, ops.ValidateConstraint, ops.BeginTypeChange, ops.BackfillTypeChange, ops.AbandonTypeChange)
def _nothing(operations: Operations, step: Any) -> None:
    """A rebuild tests every row, and one writer makes no second column necessary."""


# SQLite has no enum types. What the steps said of them is noted beside the connection, for whoever writes the next.


@on_sqlite(ops.CreateEnum)
def _create_enum(operations: Operations, step: ops.CreateEnum) -> None:
    _noted_enums(operations)[step.schema, step.name] = list(step.values)


@on_sqlite(ops.DropEnum)
def _drop_enum(operations: Operations, step: ops.DropEnum) -> None:
    _noted_enums(operations).pop((step.schema, step.name), None)


@on_sqlite(ops.RenameEnum)
def _rename_enum(operations: Operations, step: ops.RenameEnum) -> None:
    noted = _noted_enums(operations)
    noted[step.schema, step.new_name] = noted.pop((step.schema, step.name), [])


@on_sqlite(ops.AddEnumValue)
def _add_enum_value(operations: Operations, step: ops.AddEnumValue) -> None:
    values = _noted_enums(operations).setdefault((step.schema, step.name), [])
    if step.value not in values:
        place = values.index(step.before) if step.before in values else len(values)
        place = values.index(step.after) + 1 if step.after in values else place
        values.insert(place, step.value)


def _noted_enums(operations: Operations) -> dict[Any, list[str]]:
    impl: Any = operations.impl
    connection: Connection | None = impl.connection
    noted: dict[Any, list[str]] = {} if connection is None else connection.info.setdefault("toque_enums", {})
    return noted


@on_sqlite(ops.Backfill)
def _backfill(operations: Operations, step: ops.Backfill) -> None:
    backfill.run(operations, step)


@on_sqlite(ops.SetNotNull)
def _set_not_null(operations: Operations, step: ops.SetNotNull) -> None:
    with operations.batch_alter_table(step.table) as batch:
        batch.alter_column(step.column, nullable=False)


@on_sqlite(ops.AddUnique)
def _add_unique(operations: Operations, step: ops.AddUnique) -> None:
    with operations.batch_alter_table(step.table) as batch:
        batch.create_unique_constraint(operations.f(step.name), step.columns)


@on_sqlite(ops.FinishTypeChange)
def _finish_type_change(operations: Operations, step: ops.FinishTypeChange) -> None:
    with operations.batch_alter_table(step.table) as batch:
        batch.alter_column(step.column, type_=step.type_)


@on_sqlite(ops.RenameColumn)
def _rename_column(operations: Operations, step: ops.RenameColumn) -> None:
    impl: Any = operations.impl
    table, old, new = (_quote(impl, name) for name in (step.table, step.column, step.new_name))
    operations.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")


@on_sqlite(ops.RenameConstraint)
def _rename_constraint(operations: Operations, step: ops.RenameConstraint) -> None:
    """The table is rebuilt from its own text with the other name: nothing can be lost on the way."""
    impl: Any = operations.impl
    connection: Connection = impl.connection
    with own_transaction(connection):
        query = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :table")
        sql: str = connection.execute(query, {"table": step.table}).scalar_one()
        pattern = rf"(?i)(\bCONSTRAINT\s+)([\"`\[]?){re.escape(step.name)}([\"`\]]?)(?=[\s(])"
        renamed = re.sub(pattern, rf"\g<1>\g<2>{step.new_name}\g<3>", sql)
        if renamed != sql:
            _rebuild(connection, step.table, renamed)


def _rebuild(connection: Connection, table: str, sql: str) -> None:
    """Put *table* on the definition *sql*, which has the same columns."""
    quote = connection.dialect.identifier_preparer.quote
    temporary = f"{_REBUILT}{table}"
    attached = _attached(connection, table, has_plain_indexes=True)
    head = re.compile(rf"(?i)^\s*CREATE\s+TABLE\s+[\"`\[]?{re.escape(table)}[\"`\]]?")
    connection.exec_driver_sql(head.sub(lambda _: f"CREATE TABLE {quote(temporary)}", sql))
    # Generated columns are computed anew (PRAGMA table_xinfo: hidden is 2 or 3 for them).
    info = connection.exec_driver_sql(f"PRAGMA table_xinfo({quote(table)})")
    columns = ", ".join(quote(row[1]) for row in info if row[6] == 0)
    connection.exec_driver_sql(
        f"INSERT INTO {quote(temporary)} ({columns}) SELECT {columns} FROM {quote(table)}"  # noqa: S608
    )
    connection.exec_driver_sql(f"DROP TABLE {quote(table)}")
    connection.exec_driver_sql(f"ALTER TABLE {quote(temporary)} RENAME TO {quote(table)}")
    _restore(connection, table, attached)


@on_sqlite(ops.RenameIndex)
def _rename_index(operations: Operations, step: ops.RenameIndex) -> None:
    impl: Any = operations.impl
    connection: Connection = impl.connection
    query = text("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = :name")
    with own_transaction(connection):
        sql: str = connection.execute(query, {"name": step.name}).scalar_one()
        old, new = _quote(impl, step.name), _quote(impl, step.new_name)
        connection.exec_driver_sql(f"DROP INDEX {old}")
        connection.exec_driver_sql(re.sub(rf"[\"`\[]?\b{re.escape(step.name)}\b[\"`\]]?", lambda _: new, sql, count=1))
