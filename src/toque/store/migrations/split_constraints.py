"""Indexes and constraints that come and go: built beside the traffic, validated later, and put aside before they are
gone where another one needs the name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations import ops as alembic
from sqlalchemy import CheckConstraint, Enum, text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.naming import conv

from toque.store.migrations import operations as ops
from toque.store.migrations.dealing import UNWRITTEN, Dealing, on, on_key
from toque.store.migrations.facts import Key

__all__ = ["SplitConstraints"]

_OLD = "_old"

_LOOSER = "the next release may write what it forbids, and the one before loses nothing"
_UNNAMED = "no statement names an index, and the one that takes its place has the name"
_WIDER = "it allows all that was allowed before, or is about new columns"


class SplitConstraints(Dealing):
    """The part of `Splitting` that is about indexes and constraints."""

    def index_created(self, found: alembic.CreateIndexOp) -> None:
        if self._is_new(found.table_name, found.schema):
            self.put("expand", found, found.reverse())
            return
        found.kw = {**found.kw, "postgresql_concurrently": True}
        key = (found.schema, found.table_name)
        columns = {str(getattr(column, "name", column)) for column in found.columns}
        stage = self._built(key, columns)
        if found.unique:
            self._made_unique(stage, key, columns)
        gone = alembic.DropIndexOp(
            str(found.index_name), found.table_name, schema=found.schema, if_exists=True, postgresql_concurrently=True
        )
        self.put(stage, found, gone)

    def index_dropped(self, found: alembic.DropIndexOp) -> None:
        if not self._is_wanted(found):
            return
        name = self._aside(found, str(found.index_name), ops.RenameIndex)
        if name != found.index_name:
            self.drafts["expand"].allowed["renaming-object"] = _UNNAMED
        gone = alembic.DropIndexOp(
            name, found.table_name, schema=found.schema, if_exists=True, postgresql_concurrently=True
        )
        back = found.reverse()
        back.kw = {**back.kw, "postgresql_concurrently": True}
        back.index_name = name
        self.put("settle", gone, back)

    def _unique_created(self, found: alembic.CreateUniqueConstraintOp) -> None:
        constraint = found.to_constraint()
        schema = found.schema
        columns = [column.name for column in constraint.columns]
        # Without a name of ours it gets the one that PostgreSQL would have given it.
        found.constraint_name = found.constraint_name or conv("_".join([found.table_name, *columns, "key"])[:63])
        name = str(found.constraint_name)
        nulls = bool(constraint.dialect_options["postgresql"]["nulls_not_distinct"])
        stage = self._built((schema, found.table_name), set(columns))
        self._made_unique(stage, (schema, found.table_name), set(columns))
        self.put(
            stage,
            ops.AddUnique(name, found.table_name, columns, schema, constraint.deferrable, constraint.initially, nulls),
            on(found, _drop(found, "unique")),
        )

    def _built(self, key: Key, columns: set[str]) -> str:
        """The stage for an index over *columns*: one over a column that is replaced would be dropped with it."""
        return "settle" if any((key, column) in self._retyped for column in columns) else "build"

    def _made_unique(self, stage: str, key: Key, columns: set[str]) -> None:
        """Uniqueness does not wait for the release before (decision 0017), which may write a value twice: whether it
        does its author knows."""
        self._restricts(stage, UNWRITTEN, is_felt=columns <= self._columns(key))

    def _foreign_key_created(self, found: alembic.CreateForeignKeyOp) -> None:
        is_new = not set(found.local_cols) <= self._columns((found.kw.get("source_schema"), found.source_table))
        found.kw["postgresql_not_valid"] = True
        named = conv("_".join([found.source_table, *found.local_cols, "fkey"])[:63])
        found.constraint_name = found.constraint_name or named
        key = (found.kw.get("source_schema"), found.source_table)
        self._restricted(key, found, str(found.constraint_name), "foreignkey", is_harmless=is_new)

    def check_added(self, key: Key, constraint: CheckConstraint, *, is_harmless: bool) -> None:
        """A check is new, or has another text."""
        name = str(constraint.name)
        sql = constraint.sqltext.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True})
        up = alembic.CreateCheckConstraintOp(
            conv(name), key[1], text(str(sql).replace(f"{key[1]}.", "")), schema=key[0], postgresql_not_valid=True
        )
        self._restricted(key, up, name, "check", is_harmless=is_harmless)

    def _restricted(self, key: Key, up: Any, name: str, kind: str, *, is_harmless: bool) -> None:
        """What existing code may violate waits until that code has ended."""
        schema, table = key
        down = alembic.DropConstraintOp(conv(name), table, type_=kind, schema=schema)
        first, second = ("expand", "build") if is_harmless else ("restrict", "settle")
        if is_harmless:
            self._restricts(first, UNWRITTEN if kind == "foreignkey" else _WIDER)
        self.put(first, on_key(key, up), on_key(key, down))
        self.put(second, ops.ValidateConstraint(name, table, schema))

    def check_dropped(self, key: Key, name: str, sql: str) -> None:
        """A check is gone: at once, because the next release may write what it forbids."""
        schema, table = key
        down = alembic.CreateCheckConstraintOp(conv(name), table, text(sql), schema=schema, postgresql_not_valid=True)
        drop = alembic.DropConstraintOp(conv(name), table, type_="check", schema=schema)
        self.drafts["expand"].allowed["ban-drop-constraint"] = _LOOSER
        self.put("expand", on_key(key, drop), on_key(key, down))

    def values_gone(self, key: Key, constraint: CheckConstraint, literals: set[str]) -> None:
        """An enum that is kept as text has less values than *literals*: rows that hold a lost one get another."""
        column = next(iter(constraint.columns), None)
        kind: Any = None if column is None else column.type
        if column is None or not isinstance(kind, Enum) or not constraint._type_bound:
            return
        values = list(kind.enums)
        gone = sorted({literal.replace("''", "'") for literal in literals} - set(values))
        if not gone:
            return
        instead = {value: self._questions.replaced(f"{kind.name}.{value}", values) for value in gone}
        name = self._dialect.identifier_preparer.quote(column.name)
        cases = " ".join(f"WHEN {_quoted(old)} THEN {_quoted(new)}" for old, new in instead.items())
        where = f"{name} IN ({', '.join(map(_quoted, gone))})"
        fill = ops.Backfill(key[1], {column.name: f"CASE {name} {cases} END"}, where, key[0])
        self.put("backfill", fill)
        # What the release before has written since then.
        self.put("settle", fill)

    def _constraint_dropped(self, found: alembic.DropConstraintOp) -> None:
        if not self._is_wanted(found):
            return
        if found.constraint_type == "unique":
            found.constraint_name = conv(self._aside(found, str(found.constraint_name), ops.RenameConstraint))
            self.put("contract", on(found, found), None)
            self.drafts["contract"].irreversible = f"rows of {found.table_name} may not be unique any more"
            return
        self.drafts["expand"].allowed["ban-drop-constraint"] = _LOOSER
        self.put("expand", on(found, found), on(found, found.reverse()))

    def _is_wanted(self, found: Any) -> bool:
        """Whether its table stays: what belongs to a table is dropped with it."""
        return f"{found.schema}.{found.table_name}" in self._models.tables or found.table_name in self._models.tables

    def _aside(self, found: Any, name: str, rename: Callable[..., MigrateOperation]) -> str:
        """Where the models have another one of the same name, it needs the name before the old one is gone."""
        model = self._models.tables[f"{found.schema}.{found.table_name}" if found.schema else found.table_name]
        items: set[SchemaItem] = {*model.indexes, *model.constraints}
        if name not in {str(getattr(item, "name", "")) for item in items}:
            return name
        aside = f"{name[: 63 - len(_OLD)]}{_OLD}"
        self.put(
            "expand",
            rename(found.table_name, name, aside, found.schema),
            rename(found.table_name, aside, name, found.schema),
        )
        return aside


def _drop(found: Any, kind: str) -> alembic.DropConstraintOp:
    return alembic.DropConstraintOp(conv(str(found.constraint_name)), found.table_name, type_=kind, schema=found.schema)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
