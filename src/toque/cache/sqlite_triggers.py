"""Triggers that capture what a statement changes on SQLite: one row of the log for each row that changed.

`INSERT OR REPLACE` removes the rows in its way without firing the triggers of DELETE (lang_conflict.html, "REPLACE"),
so rows that may be removed are told before: those that have a key of the new row. For a NULL that a column does not
take, REPLACE writes the column's default, which is asked of the file: the model need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from toque.cache.change_table import GENERATION
from toque.cache.column_list import column_list
from toque.cache.keys import TEXT_MAX, keys_of
from toque.store.rows import Guarded, declared

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["faults", "install"]

_dialect: Any = sqlite.dialect()
_preparer: Any = _dialect.identifier_preparer


def install(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """Put up what is missing or differs, in the current transaction: the names of the tables that were touched.

    A table that lacks a column that they would name is left without: every write would fail.
    """
    connection.exec_driver_sql(GENERATION)
    touched = []
    for table in tables:
        if _is_walled(table):
            continue
        wanted = {} if _lacking(connection, table) else _triggers(connection, table)
        there = _there(connection, table)
        if there == wanted or not _is_table(connection, table):
            continue
        for name in there:
            connection.exec_driver_sql(f"DROP TRIGGER {_preparer.quote(name)}")
        for definition in wanted.values():
            connection.exec_driver_sql(definition)
        touched.append(table.fullname)
    return touched


def faults(connection: Connection, table: Table) -> list[str]:
    """Why changes of *table* are not told, or not exactly; one sentence each."""
    found = connection.exec_driver_sql("SELECT type, sql FROM sqlite_master WHERE name = ?", (table.name,)).first()
    if found is None:
        return ["it is not there"]
    if found.type != "table":
        return ["it is no table, and what lies behind it is not watched"]
    if _is_walled(table):
        return ["SQLite's wall lets no trigger read it, because it is sensitive"]
    if lacking := _lacking(connection, table):
        return [f"it has no column {name}" for name in lacking]
    faults = []
    if _there(connection, table) != _triggers(connection, table):
        faults.append("it has not the triggers that capture its changes")
    if "collate" in found.sql.lower():
        faults.append("it has a column with a collation, by which different texts may be equal")
    return [*faults, *_inexact(connection, table), *_untold(connection, table)]


def _lacking(connection: Connection, table: Table) -> list[str]:
    there = {row.name for row in _columns_of(connection, table)}
    return [name for name in keys_of(table, "sqlite") if name not in there]


def _columns_of(connection: Connection, table: Table) -> Sequence[Any]:
    return connection.exec_driver_sql(f"PRAGMA table_xinfo({_preparer.quote(table.name)})").all()


def _inexact(connection: Connection, table: Table) -> Iterator[str]:
    """Columns that hold their values in another way than the model says: they are equal to others than it says."""
    there = {row.name: row.type for row in _columns_of(connection, table)}
    for name, key in keys_of(table, "sqlite").items():
        if _affinity(there[name]) not in _AFFINITIES[key.kind]:
            yield f"{name} is {there[name] or 'of no type'} there, whose equality is not that of the model's {key.kind}"


def _affinity(declared_type: str) -> str:
    """How a column of this type holds its values. Source: datatype3.html, 3.1."""
    name = declared_type.upper()
    for found, words in _WORDS:
        if any(word in name for word in words):
            return found
    return "NUMERIC" if name else "BLOB"


_WORDS = (
    ("INTEGER", ("INT",)),
    ("TEXT", ("CHAR", "CLOB", "TEXT")),
    ("BLOB", ("BLOB",)),
    ("REAL", ("REAL", "FLOA", "DOUB")),
)
"""In the order in which they count."""

_AFFINITIES = {
    "integer": {"INTEGER", "NUMERIC"},
    "boolean": {"INTEGER", "NUMERIC"},
    "date": {"TEXT", "BLOB", "NUMERIC"},
    "uuid": {"TEXT", "BLOB"},
    "text": {"TEXT", "BLOB"},
    "enum": {"TEXT", "BLOB"},
}
"""For each kind of key, those that keep its values what they are. No date looks like a number; a text may, and is one
then where the column is NUMERIC (as `STRING` is)."""


def _untold(connection: Connection, table: Table) -> Iterator[str]:
    """What makes rows unique by more than the model says: REPLACE removes rows by it, and nobody is told."""
    known = {frozenset(names) for names in _constraints(table)}
    indexes = {str(index.name) for index in _unique_indexes(table)}
    primary = frozenset(row.name for row in _columns_of(connection, table) if row.pk)
    if primary and primary not in known:
        yield f"its primary key is {', '.join(sorted(primary))} there"
    for index in connection.exec_driver_sql(f"PRAGMA index_list({_preparer.quote(table.name)})").all():
        if not index.unique or index.name in indexes:
            continue
        rows = connection.exec_driver_sql(f"PRAGMA index_xinfo({_preparer.quote(index.name)})").all()
        is_plain = all(row.cid >= 0 and row.coll == "BINARY" for row in rows if row.key)
        if not is_plain or frozenset(row.name for row in rows if row.key) not in known:
            yield f"it has the unique index {index.name}, of which its model says too little"


def _is_walled(table: Table) -> bool:
    """Whether `store/sqlite_wall.py` stands around *table*: with a trigger that it does not know, every write would be
    refused."""
    rules = declared(table)
    return isinstance(rules, Guarded) and rules.is_sensitive


def _is_table(connection: Connection, table: Table) -> bool:
    asked = "SELECT type FROM sqlite_master WHERE name = ?"
    return connection.exec_driver_sql(asked, (table.name,)).scalar() == "table"


def _there(connection: Connection, table: Table) -> dict[str, str]:
    asked = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? AND name LIKE 'toque_change_%'"
    return {row.name: row.sql for row in connection.exec_driver_sql(asked, (table.name,))}


def _triggers(connection: Connection, table: Table) -> dict[str, str]:
    """Each trigger's definition, by its name."""
    keys = keys_of(table, "sqlite")
    old, new = _image("OLD", keys), _image("NEW", keys)
    told = f"'{_text(table.fullname)}', '{_columns(keys)}'"
    head = f"INSERT INTO toque_change (name, columns, images) VALUES ({told}, "  # noqa: S608 - names that are quoted
    acts = {
        "insert": ("AFTER INSERT", f"{head}'[' || {new} || ']')"),
        "update": ("AFTER UPDATE", f"{head}'[' || {old} || ',' || {new} || ']')"),
        "delete": ("AFTER DELETE", f"{head}'[' || {old} || ']')"),
    }
    if replaced := _replaced(table, keys, _defaults(connection, table)):
        acts["replace"] = ("BEFORE INSERT", replaced)
        acts["override"] = (f"BEFORE UPDATE OF {_unique_columns(table)}", replaced)
    quote = _preparer.quote
    names = {event: f"toque_change_{event}_{table.name}" for event in acts}
    return {
        names[event]: f"CREATE TRIGGER {quote(names[event])} {when} ON {quote(table.name)} BEGIN {act}; END"
        for event, (when, act) in acts.items()
    }


def _defaults(connection: Connection, table: Table) -> dict[str, str]:
    """The SQL of the value that REPLACE writes for a NULL, by the name of its column."""
    return {
        row.name: row.dflt_value for row in _columns_of(connection, table) if row.notnull and row.dflt_value is not None
    }


def _replaced(table: Table, keys: Any, defaults: Mapping[str, str]) -> str:
    """What tells the rows that have a key of the new row; empty where none can."""

    def there(name: str) -> str:
        return f"there.{_preparer.quote(name)}"

    def new(name: str) -> str:
        value = f"NEW.{_preparer.quote(name)}"
        return f"coalesce({value}, ({defaults[name]}))" if name in defaults else value

    conditions = [" AND ".join(f"{there(name)} = {new(name)}" for name in names) for names in _constraints(table)]
    for index in _unique_indexes(table):
        parts = [f"{_of_row(there, each)} = {_of_row(new, each)}" for each in index.expressions]
        # Without its condition, a partial index is of no use, and each INSERT would look at all rows.
        where = index.dialect_options["sqlite"]["where"]
        conditions.append(" AND ".join(parts if where is None else [*parts, _of_row(there, where)]))
    if not conditions:
        return ""
    return (
        f"INSERT INTO toque_change (name, columns, images) "  # noqa: S608 - names that are quoted
        f"SELECT '{_text(table.fullname)}', '{_columns(keys)}', '[' || {_image('there', keys)} || ']' "
        f"FROM {_preparer.quote(table.name)} AS there WHERE {' OR '.join(f'({condition})' for condition in conditions)}"
    )


def _constraints(table: Table) -> Iterator[list[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)) and len(constraint.columns):
            yield [column.name for column in constraint.columns]


def _unique_indexes(table: Table) -> list[Index]:
    """Those whose SQL is known; a text could be about any row."""
    found = (index for index in table.indexes if index.unique and all(map(_is_known, index.expressions)))
    return sorted(found, key=lambda index: str(index.name))


def _is_known(expression: Any) -> bool:
    parts = list(iterate(expression))
    is_text = any(isinstance(part, TextClause) or getattr(part, "is_literal", False) for part in parts)
    return not is_text and any(isinstance(part, Column) for part in parts)


def _of_row(column: Callable[[str], str], expression: Any) -> str:
    """*expression* as the SQL of the value of a row that has this for a *column*'s name."""

    def named(element: Any, **_: Any) -> Any:
        return literal_column(column(element.name)) if isinstance(element, Column) else None

    replaced = replacement_traverse(expression, {}, named)
    return str(replaced.compile(dialect=_dialect, compile_kwargs={"literal_binds": True}))


def _unique_columns(table: Table) -> str:
    names = dict.fromkeys(name for names in _constraints(table) for name in names)
    names.update(dict.fromkeys(column.name for index in _unique_indexes(table) for column in index.columns))
    return ", ".join(map(_preparer.quote, names))


def _image(row: str, keys: Any) -> str:
    return f"json_array({', '.join(_value(f'{row}.{_preparer.quote(name)}') for name in keys)})"


def _value(column: str) -> str:
    # A column may hold a value of any type here, and JSON has no place for a BLOB: such a value equals no other.
    return (
        f"CASE typeof({column}) WHEN 'text' THEN substr({column}, 1, {TEXT_MAX}) WHEN 'integer' THEN {column} "
        f"WHEN 'null' THEN NULL ELSE typeof({column}) || substr(quote({column}), 1, {TEXT_MAX}) END"
    )


def _columns(keys: Any) -> str:
    return _text(column_list(keys))


def _text(value: str) -> str:
    return value.replace("'", "''")
