"""SQLite's dialect, with the types that stock SQLAlchemy does not keep exactly there.

Instants: stored as UTC text, given back aware. Decimals: a column of SQLite's NUMERIC affinity keeps 15
    significant digits exactly (https://www.sqlite.org/datatype3.html, section 3), so that they sort, compare
    and add up as numbers in every tool that opens the file; a value with more digits is refused instead of
    rounded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.dialects.sqlite.base import DATETIME
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, Float, Numeric

from toque.store.dialects import OverTransaction, Unfit, aware

__all__ = ["Sqlite"]

# Any: SQLAlchemy gives each of its types another processor type, and none that a subclass may widen.
Process = Any


class _Instant(DATETIME):
    """`DateTime(timezone=True)` on SQLite: aware in, UTC text in the file, aware UTC out."""

    def bind_processor(self, dialect: Dialect) -> Process:
        store: Any = super().bind_processor(dialect)
        if not self.timezone or store is None:
            return store

        def process(value: Any) -> Any:
            if not isinstance(value, datetime):
                return value if value is None else store(value)
            return store(aware(value).astimezone(UTC).replace(tzinfo=None))

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Process:
        load: Any = super().result_processor(dialect, coltype)
        if not self.timezone or load is None:
            return load

        def process(value: Any) -> Any:
            return None if value is None else _in_utc(load(value))

        return process


def _in_utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC)


class _ExactNumeric(Numeric[Any]):
    """`Numeric` on SQLite: exact to 15 significant digits, refused beyond."""

    def bind_processor(self, dialect: Dialect) -> Process:
        scale = self.scale

        def process(value: Any) -> Any:
            if value is None or isinstance(value, (int, float)):
                return value
            if not value.is_finite():
                raise Unfit("expected a finite number.")
            # PostgreSQL rounds to the column's scale; so do we, half up as it does.
            rounded = value if scale is None else value.quantize(Decimal(1).scaleb(-scale), "ROUND_HALF_UP")
            stored = float(rounded)
            if Decimal(repr(stored)) != rounded:
                raise Unfit("SQLite keeps 15 significant digits of a decimal, and this one has more.")
            return stored

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Process:
        if not self.asdecimal:
            return None
        unit = None if self.scale is None else Decimal(1).scaleb(-self.scale)

        def process(value: Any) -> Any:
            if value is None:
                return None
            number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
            return number if unit is None else number.quantize(unit)

        return process


class Sqlite(OverTransaction, SQLiteDialect_pysqlite):
    supports_statement_cache = True
    colspecs = {**SQLiteDialect_pysqlite.colspecs, DateTime: _Instant, Numeric: _ExactNumeric, Float: Float}
