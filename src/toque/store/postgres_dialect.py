"""PostgreSQL's dialect, with the types whose values asyncpg takes for others than they were meant."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgDateTime, AsyncpgNumeric, PGDialect_asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, Numeric

from toque.store.dialects import OverTransaction, Unfit, aware

__all__ = ["Postgres"]

# Any: SQLAlchemy gives each of its types another processor type, and none that a subclass may widen.
Process = Any


class _FiniteNumeric(AsyncpgNumeric):
    """`Numeric` on PostgreSQL: NaN, which it would store and call greater than everything, is refused as on
    SQLite."""

    def bind_processor(self, dialect: Dialect) -> Process:
        return _finite


def _finite(value: Any) -> Any:
    if isinstance(value, Decimal) and not value.is_finite():
        raise Unfit("expected a finite number.")
    return value


class _AwareDateTime(AsyncpgDateTime):
    """`DateTime(timezone=True)` on PostgreSQL: asyncpg would take a time without its zone for one in UTC, and gives
    PostgreSQL's infinities, as which it writes the first and the last time there are, without one."""

    def bind_processor(self, dialect: Dialect) -> Process:
        return aware if self.timezone else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Process:
        return _zoned if self.timezone else None


def _zoned(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Postgres(OverTransaction, PGDialect_asyncpg):
    supports_statement_cache = True
    colspecs = {**PGDialect_asyncpg.colspecs, Numeric: _FiniteNumeric, DateTime: _AwareDateTime}
