"""One table's rows between a driver and Python, by the processors of SQLAlchemy's own types.

NULL stays NULL and a JSON document stays text: what Python makes of both would make a JSON null of a NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.engine import Dialect
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from toque.store.conversion import reader
from toque.store.moving.checksum import Document

__all__ = ["Shape"]

Convert = Callable[[Any], Any]
Row = Sequence[Any]


class Shape:
    """How the rows of *table* are read from, and written to, a database of *dialect*."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self.table = table
        self.columns = [column for column in table.columns if column.computed is None]
        self.name = dialect.identifier_preparer.format_table(table)
        keys = list(table.primary_key.columns)
        statement = select(*self.columns).order_by(*keys)
        self.select = str(statement.compile(dialect=dialect))
        """All rows, in the order of the primary key."""
        self.is_ordered = bool(keys)
        values = {column.key: None for column in self.columns}
        self.insert = str(table.insert().compile(dialect=dialect, column_keys=list(values)))
        self._reads = _placed(_read(column, dialect) for column in self.columns)
        self._writes = _placed(_write(column, dialect) for column in self.columns)

    def from_driver(self, rows: Iterable[Row]) -> list[Row]:
        return _converted(rows, self._reads)

    def to_driver(self, rows: Iterable[Row]) -> list[Row]:
        return _converted(rows, self._writes)


def _converted(rows: Iterable[Row], converters: Sequence[tuple[int, Convert]]) -> list[Row]:
    converted: list[Row] = []
    for row in rows:
        values = list(row)
        for place, convert in converters:
            if values[place] is not None:
                values[place] = convert(values[place])
        converted.append(values)
    return converted


def _placed(converters: Iterable[Convert | None]) -> list[tuple[int, Convert]]:
    return [(place, convert) for place, convert in enumerate(converters) if convert is not None]


def _read(column: Column[Any], dialect: Dialect) -> Convert | None:
    return Document if _is_document(column.type) else reader(column.type, Any, dialect)


def _write(column: Column[Any], dialect: Dialect) -> Convert | None:
    return str if _is_document(column.type) else column.type.dialect_impl(dialect).bind_processor(dialect)


def _is_document(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind.impl if isinstance(kind, TypeDecorator) else kind, JSON)
