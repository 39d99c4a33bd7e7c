"""Columns that come, go and become others, as steps that lock no table for as long as it has rows.

A value for the rows that are there is written by a backfill; a type changes by way of a second column.
"""

from __future__ import annotations

import re
from typing import Any

from alembic.operations import ops as alembic
from sqlalchemy import Column, Computed, Date, DateTime, DefaultClause, Float, Integer, Numeric, String, Text, text
from sqlalchemy.types import TypeEngine

from toque.store.migrations import operations as ops
from toque.store.migrations.dealing import UNWRITTEN, Dealing, on
from toque.store.migrations.facts import Key, named, native_enum
from toque.store.migrations.refused import Refused

__all__ = ["SplitColumns"]

# What a row that is there needs no rewriting for: PostgreSQL evaluates it once ("ALTER TABLE", Notes: "non-volatile").
_CONSTANT = re.compile(
    r"(?i)\(?\s*(-?[\d.]+|'(?:[^']|'')*'(::[\w ]+)?|true|false|null|now\(\)|current_timestamp|current_date)\s*\)?"
)
# PostgreSQL scans for NULLs under no lock that anybody waits for where a check says that there are none (`SetNotNull`).
_DEFAULTED = "a check of its own says for a while that there is no NULL; a default writes what others leave out"
_WIDENED = "every old value is a new one as it stands, so that nothing is rewritten"
_COPIED = "it is about a second column, which a trigger alone writes, from one that has no NULL"
# What a new value needs to be read from an old one of another type.
_CAST = "CAST({{value}} AS {type})"


class SplitColumns(Dealing):
    """The part of `Splitting` that is about columns."""

    def _column_added(self, found: alembic.AddColumnOp) -> None:
        column: Column[Any] = found.column
        name = f"{found.table_name}.{column.name}"
        if isinstance(column.server_default, Computed) or column.identity is not None:
            self._add(found, column)
            return
        default = self._default_sql(column)
        if default is not None and not _CONSTANT.fullmatch(default):
            self._add_filled(found, default, keeps_default=True)
        elif column.nullable or default is not None:
            self._add(found, column)
        else:
            value = self._questions.value(name, str(column.type.compile(dialect=self._dialect)), _example(column))
            if _CONSTANT.fullmatch(value) and value.upper() != "NULL":
                self._add_with_passing_default(found, value)
            else:
                self._add_filled(found, value, keeps_default=False)

    def _add(self, found: alembic.AddColumnOp, column: Column[Any]) -> None:
        table, schema = found.table_name, found.schema
        up = alembic.AddColumnOp(table, _without_checks(column), schema=schema)
        if not column.nullable:
            self._restricts("expand", UNWRITTEN)
        self.put(
            "expand",
            on(found, up),
            on(found, alembic.DropColumnOp(table, column.name, schema=schema)),
            f"column {table}.{column.name}",
        )

    def _add_with_passing_default(self, found: alembic.AddColumnOp, value: str) -> None:
        """The release before does not know the column; until it has ended, the database fills it."""
        column = _copied(found.column, server_default=DefaultClause(text(value)))
        self._add(found, column)
        self._alter("contract", found, column, server_default=(text(value), None))

    def _add_filled(self, found: alembic.AddColumnOp, value: str, *, keeps_default: bool) -> None:
        column = found.column
        table, schema = found.table_name, found.schema
        self._add(found, _copied(column, nullable=True, server_default=None))
        if keeps_default:
            self._alter("expand", found, _copied(column, nullable=True), server_default=(None, column.server_default))
        fill = ops.Backfill(table, {column.name: value}, schema=schema)
        self.put("backfill", fill)
        if column.nullable:
            return
        if keeps_default:
            self._set_not_null("backfill", found, column)
            self._restricts("backfill", _DEFAULTED)
            self.drafts["backfill"].allowed["ban-drop-constraint"] = _DEFAULTED
        else:
            # What the release before has written since then has no value yet.
            self.put("settle", fill)
            self._set_not_null("settle", found, column)

    def _set_not_null(self, stage: str, found: Any, column: Column[Any]) -> None:
        self.put(
            stage,
            ops.SetNotNull(found.table_name, column.name, found.schema),
            self._altered(found, column, existing_nullable=False, modify_nullable=True),
        )

    def _column_dropped(self, found: alembic.DropColumnOp) -> None:
        column = found.to_column()
        table, schema = found.table_name, found.schema
        there = self._there(found)
        name = column.name
        if not there.nullable[name] and there.defaults.get(name) is None and name not in there.computed:
            # The next release does not write it any more.
            self.put(
                "expand",
                self._altered(found, column, existing_nullable=False, modify_nullable=True),
                ops.SetNotNull(table, name, schema),
            )
            self.drafts["expand"].allowed["ban-drop-not-null"] = f"{table}.{name} is dropped in the contract phase"
        back = _without_checks(_copied(column, nullable=True))
        self.put("contract", on(found, found), on(found, alembic.AddColumnOp(table, back, schema=schema)))

    def _column_altered(self, found: alembic.AlterColumnOp) -> None:
        model = self._models.tables[f"{found.schema}.{found.table_name}" if found.schema else found.table_name]
        column = next(column for column in model.columns if column.name == found.column_name)
        if found.modify_type is not None:
            self._type_changed(found, column)
        if found.modify_nullable is True:
            self.put(
                "expand",
                self._altered(found, column, existing_nullable=False, modify_nullable=True),
                ops.SetNotNull(found.table_name, column.name, found.schema),
            )
        elif found.modify_nullable is False:
            self._nulls_forbidden(found, column)
        if found.modify_comment is not False:
            up = self._altered(
                found, column, modify_comment=found.modify_comment, existing_comment=found.existing_comment
            )
            self.put("expand", up, up.ops[0].reverse() if isinstance(up, alembic.ModifyTableOps) else None)

    def _nulls_forbidden(self, found: alembic.AlterColumnOp, column: Column[Any]) -> None:
        name = f"{found.table_name}.{column.name}"
        default = self._default_sql(column)
        kind = str(column.type.compile(dialect=self._dialect))
        value = default or self._questions.value(name, kind, _example(column))
        fill = ops.Backfill(found.table_name, {column.name: value}, schema=found.schema)
        self.put("backfill", fill)
        self.put("settle", fill)
        self._set_not_null("settle", found, column)

    def _type_changed(self, found: alembic.AlterColumnOp, column: Column[Any]) -> None:
        key = (found.schema, found.table_name)
        self._refuse_under_generated(key, column.name)
        old, new = _collated(found.existing_type, self._before.tables[key].types[column.name]), column.type
        if _is_coarser(old, new):
            raise Refused(
                f"{column.name} of {found.table_name} is {new!r} and was {old!r}: a cast makes other values of some "
                "and says nothing. Give the new column a name of its own, and say what its values are made of with "
                f"`--value {found.table_name}.NAME=...`; or write this one by hand."
            )
        if _is_wider(old, new):
            up = self._altered(found, column, modify_type=_without_check(new), existing_type=old)
            down = self._altered(found, column, modify_type=old, existing_type=_without_check(new))
            self.drafts["expand"].allowed["changing-column-type"] = _WIDENED
            self.put("expand", up, down, f"what does not fit into {old} in {found.table_name}.{column.name}")
            return
        if column.name in self._before.tables[key].keyed:
            # A second column would need second keys and indexes, and everything that refers to them.
            up = self._altered(
                found, column, modify_type=_without_check(new), existing_type=old, postgresql_using=self._cast(column)
            )
            self.put("switch", up)
            self.drafts["switch"].irreversible = f"{column.name} of {found.table_name} was converted in its place"
            return
        self.change_type(key, column, self._cast(column), "switch")

    def change_type(
        self, key: Key, column: Column[Any], using: str, stage: str, type_: TypeEngine[Any] | None = None
    ) -> None:
        """Give a column another type by way of a second column."""
        schema, table = key
        self._refuse_under_generated(key, column.name)
        kind = _without_check(type_ or column.type)
        self._retyped.add((key, column.name))
        nullable = self._before.tables[key].nullable[column.name]
        default = self._default_sql(column)
        self.put(
            "expand",
            ops.BeginTypeChange(table, column.name, kind, using, schema),
            ops.AbandonTypeChange(table, column.name, schema),
        )
        self.put("backfill", ops.BackfillTypeChange(table, column.name, using, nullable, schema))
        if not nullable:
            self._restricts("backfill", _COPIED)
            self.drafts["backfill"].allowed["ban-drop-constraint"] = _COPIED
        self.put(stage, ops.FinishTypeChange(table, column.name, kind, default, schema))
        self.drafts[stage].irreversible = f"the old values of {table}.{column.name} are gone"

    def _refuse_under_generated(self, key: Key, name: str) -> None:
        """PostgreSQL changes no type that a generated column is made of (manual, ALTER TABLE, "SET DATA TYPE")."""
        generated = self._before.tables[key].computed
        if over := [other for other, sql in generated.items() if other != name and named([name], [sql])]:
            raise Refused(
                f"{name} of {key[1]} has another type than before, and {', '.join(over)} is computed from it: drop "
                f"{', '.join(over)} in a revision before and add it again in one after, or give the new column a name "
                "of its own."
            )

    def _cast(self, column: Column[Any]) -> str:
        from sqlalchemy.dialects import postgresql

        dialect: Any = postgresql.dialect  # SQLAlchemy leaves its maker untyped.
        kind = column.type
        if isinstance(kind, String) and native_enum(kind) is None:
            # A cast to a length cuts what is longer without a word (manual, "Character Types"), and knows no
            # collation; putting it into the column does not cut, and does.
            kind = Text() if isinstance(kind, Text) else String()
        return _CAST.format(type=kind.compile(dialect=dialect()))

    # Defaults, which Alembic is not asked for: each database writes its own form.

    def default_changed(self, key: Key, column: Column[Any], old: str | None) -> None:
        """A default is new, other or gone. One that is gone goes last: the release before may count on it."""
        stage = "contract" if column.server_default is None else "expand"
        found = alembic.AlterColumnOp(key[1], column.name, schema=key[0])
        self._alter(stage, found, column, server_default=(None if old is None else text(old), column.server_default))

    def _alter(self, stage: str, found: Any, column: Column[Any], *, server_default: tuple[Any, Any]) -> None:
        old, new = (DefaultClause(part) if isinstance(part, type(text(""))) else part for part in server_default)
        up = self._altered(found, column, modify_server_default=new, existing_server_default=old)
        down = self._altered(found, column, modify_server_default=old, existing_server_default=new)
        self.put(stage, up, down)

    def _altered(self, found: Any, column: Column[Any], **changes: Any) -> alembic.ModifyTableOps:
        changes.setdefault("existing_type", _without_check(column.type))
        if "modify_nullable" not in changes:
            changes.setdefault("existing_nullable", column.nullable)
        return on(found, alembic.AlterColumnOp(found.table_name, column.name, schema=found.schema, **changes))

    def _default_sql(self, column: Column[Any]) -> str | None:
        default = column.server_default
        if not isinstance(default, DefaultClause):
            return None
        if isinstance(default.arg, str):
            return "'" + default.arg.replace("'", "''") + "'"
        return str(default.arg.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))


def _copied(column: Column[Any], **changes: Any) -> Column[Any]:
    made = column._copy()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def _without_checks(column: Column[Any]) -> Column[Any]:
    """*column* without what its type adds to the table; that is compared and added by itself."""
    made = column._copy()
    made.type = _without_check(column.type)
    generated = [part for part in (made.computed, made.identity) if part is not None]
    default = None if generated else made.server_default
    return Column(
        made.name, made.type, *generated, nullable=made.nullable, server_default=default, comment=made.comment
    )


def _collated(kind: Any, said: str) -> Any:
    """*kind* with the collation that its database says: SQLAlchemy does not reflect it on SQLite."""
    _, _, collation = said.partition(" COLLATE ")
    if not isinstance(kind, String) or kind.collation or not collation:
        return kind
    made = kind.copy()
    made.collation = collation.strip('"')
    return made


def _without_check(kind: Any) -> Any:
    if not getattr(kind, "create_constraint", False):
        return kind
    made: Any = kind.copy()
    made.create_constraint = False
    return made


def _is_wider(old: Any, new: Any) -> bool:
    """Whether every old value is a new one as it stands, so that PostgreSQL rewrites nothing (release notes of 9.2,
    "Reduce need to rebuild tables")."""
    if native_enum(new) is not None or native_enum(old) is not None:
        return False
    if isinstance(old, String) and isinstance(new, String):
        if old.collation != new.collation:
            return False
        return new.length is None or (old.length is not None and new.length >= old.length)
    if isinstance(old, Numeric) and isinstance(new, Numeric) and not isinstance(new, Float):
        if new.precision is None:
            return True
        return old.precision is not None and new.precision >= old.precision and new.scale == old.scale
    return False


def _is_coarser(old: Any, new: Any) -> bool:
    """Whether a cast rounds some old values, or leaves a part of them out."""
    if isinstance(old, DateTime):
        return isinstance(new, Date)
    if not isinstance(old, Numeric | Float):
        return False
    if isinstance(new, Integer):
        return True
    if not isinstance(new, Numeric):
        return isinstance(new, Float) and not isinstance(old, Float)
    # Without a scale it is as fine as a value wants.
    return new.scale is not None and (isinstance(old, Float) or old.scale is None or old.scale > new.scale)


def _example(column: Column[Any]) -> str:
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return "\"''\""
    return {int: "0", float: "0", bool: "false"}.get(kind, "\"''\"")
