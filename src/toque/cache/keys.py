"""The columns that a read set may name, and when the database holds two of their values equal.

A column is used if it is what equality usually asks for (of a key, an index, or a stamp that says whose row it is) and
if its type has a canonical form: one value of Python for all values that the database holds equal. Types without one
(`numeric`, floats, times with zones, `char(n)`, JSON) are not used, which only makes read sets wider. A value of a type
that its column does not expect has no canonical form either.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Table, UniqueConstraint, types
from sqlalchemy.engine.default import DefaultDialect

from toque.cache.change import Scalar
from toque.store.rows import Guarded, declared

__all__ = ["TEXT_MAX", "UNFIT", "Key", "key_of", "keys_of"]

TEXT_MAX = 200
"""Characters of a text that are compared. Texts that differ later only are taken for equal, and images stay small."""

UNFIT = object()
"""In the place of a value that has no canonical form."""


class Key(NamedTuple):
    """How values of one column are compared."""

    kind: str
    """Columns of one kind may be equated with one another."""
    of_value: Callable[[Any], Any]
    """From a statement's value to its canonical form, or UNFIT."""
    of_image: Callable[[Any], Scalar]
    """From what JSON has for the column to its canonical form."""


def keys_of(table: Table, dialect_name: str) -> dict[str, Key]:
    """The columns of *table* that its changes tell, by name and in the table's order."""
    named = _equated(table)
    # SQLAlchemy's names are a kind of str that JSON does not take.
    found = ((str.__str__(c.name), key_of(c.type, dialect_name)) for c in table.c if c.name in named)
    return {name: key for name, key in found if key is not None}


def key_of(type_: Any, dialect_name: str) -> Key | None:
    """How values of this type are compared; None where nothing exact is known."""
    kind = type_._variant_mapping.get(dialect_name, type_)
    return next((make(kind, dialect_name) for known, make in _KINDS if _is(kind, known)), None)


def _equated(table: Table) -> set[str]:
    columns: set[Column[Any]] = set(table.primary_key.columns)
    columns |= {column for column in table.c if column.foreign_keys or column.unique or column.index}
    for index in table.indexes:
        columns |= set(index.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            columns |= set(constraint.columns)
    rules = declared(table)
    stamped = {table.c[key].name for key in rules.stamp} if isinstance(rules, Guarded) else set()
    return {column.name for column in columns} | stamped


def _is(kind: Any, known: type) -> bool:
    """Whether *kind* is *known* or SQLAlchemy's own kind of it. A type of somebody else's may convert its values, and
    among those of the dialects are `citext` and dates in formats of their own."""
    return isinstance(kind, known) and type(kind).__module__ in _PLAIN


_PLAIN = frozenset({"sqlalchemy.sql.sqltypes", "sqlalchemy.dialects.postgresql.named_types"})


def _exact(type_: type, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """From a value of exactly this type to its canonical form: a bool is no int here, nor a datetime a date."""

    def of_value(value: Any) -> Any:
        if type(value) is type_:
            return convert(value)
        return None if value is None else UNFIT

    return of_value


def _of_integer(value: Any) -> Any:
    return value if type(value) is int or value is None else UNFIT


def _same(value: Any) -> Any:
    return value


def _integer(kind: Any, dialect_name: str) -> Key:
    return Key("integer", _of_integer, _same)


def _boolean(kind: Any, dialect_name: str) -> Key:
    return Key("boolean", _exact(bool, int), lambda value: int(value) if isinstance(value, bool) else value)


def _date(kind: Any, dialect_name: str) -> Key:
    return Key("date", _exact(date, date.isoformat), _same)


def _uuid(kind: Any, dialect_name: str) -> Key:
    undashed: Callable[[Any], Scalar] = lambda value: None if value is None else value.replace("-", "")  # noqa: E731
    # SQLite keeps 32 digits as a text, in which a dash is a difference.
    return Key("uuid", _exact(UUID, lambda value: value.hex), undashed if dialect_name != "sqlite" else _same)


def _text(kind: Any, dialect_name: str) -> Key | None:
    if kind.collation is not None:
        return None
    return Key("text", _exact(str, _shortened), _same)


def _shortened(value: str) -> Any:
    # SQLite's functions end a text at its first NUL; PostgreSQL has none.
    return UNFIT if "\0" in value else value[:TEXT_MAX]


def _enum(kind: Any, dialect_name: str) -> Key:
    label = kind.bind_processor(DefaultDialect())

    def of_value(value: Any) -> Any:
        try:
            return None if value is None else _shortened(label(value))
        except (LookupError, TypeError):
            return UNFIT

    return Key("enum", of_value, _same)


_KINDS: tuple[tuple[type, Callable[[Any, str], Key | None]], ...] = (
    (types.Integer, _integer),
    (types.Boolean, _boolean),
    (types.Date, _date),
    (types.Uuid, _uuid),
    (types.Enum, _enum),
    (types.CHAR, lambda kind, dialect_name: None),
    (types.NCHAR, lambda kind, dialect_name: None),
    (types.String, _text),
)
"""The first that fits. `char(n)` is a String and pads its values."""
