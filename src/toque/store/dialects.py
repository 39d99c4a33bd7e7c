"""The two SQL dialects, with the types that stock SQLAlchemy does not keep exactly on SQLite.

Instants: stored as UTC text, given back aware. Decimals: a column of SQLite's NUMERIC affinity keeps 15
    significant digits exactly (https://www.sqlite.org/datatype3.html, section 3), so that they sort, compare
    and add up as numbers in every tool that opens the file; a value with more digits is refused instead of
    rounded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgDateTime, AsyncpgNumeric, PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.base import DATETIME
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, Float, Numeric

__all__ = ["Postgres", "Sqlite", "options", "postgresql", "sqlite"]

# Any: SQLAlchemy gives each of its types another processor type, and none that a subclass may widen.
Process = Any


class _Driver:
    """What SQLAlchemy takes for the driver's module. No error is one of its own: ours pass through unwrapped."""

    class Error(Exception):
        pass


class _OverTransaction:
    """How SQLAlchemy's own execution reaches a call's transaction, where a session runs it (`session.py`)."""

    loaded_dbapi: Any = _Driver
    is_async = True
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = True
    supports_server_side_cursors = False
    # A primary key comes back by RETURNING: a transaction tells rows, not what a driver remembers of the last one.
    favor_returning_over_lastrowid = True

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.run(statement, parameters, context)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.run_many(statement, parameters, context)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        cursor.run(statement, (), context)

    def do_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.set_savepoint(name)

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.end_savepoint(name, is_kept=False)

    def do_release_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.end_savepoint(name, is_kept=True)


class _Instant(DATETIME):
    """`DateTime(timezone=True)` on SQLite: aware in, UTC text in the file, aware UTC out."""

    def bind_processor(self, dialect: Dialect) -> Process:
        store: Any = super().bind_processor(dialect)
        if not self.timezone or store is None:
            return store

        def process(value: Any) -> Any:
            if not isinstance(value, datetime):
                return value if value is None else store(value)
            return store(_aware(value).astimezone(UTC).replace(tzinfo=None))

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
                raise ValueError("expected a finite number.")
            # PostgreSQL rounds to the column's scale; so do we, half up as it does.
            rounded = value if scale is None else value.quantize(Decimal(1).scaleb(-scale), "ROUND_HALF_UP")
            stored = float(rounded)
            if Decimal(repr(stored)) != rounded:
                raise ValueError("SQLite keeps 15 significant digits of a decimal, and this one has more.")
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


class Sqlite(_OverTransaction, SQLiteDialect_pysqlite):
    supports_statement_cache = True
    colspecs = {**SQLiteDialect_pysqlite.colspecs, DateTime: _Instant, Numeric: _ExactNumeric, Float: Float}


class _FiniteNumeric(AsyncpgNumeric):
    """`Numeric` on PostgreSQL: NaN, which it would store and call greater than everything, is refused as on
    SQLite."""

    def bind_processor(self, dialect: Dialect) -> Process:
        return _finite


def _finite(value: Any) -> Any:
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError("expected a finite number.")
    return value


class _AwareDateTime(AsyncpgDateTime):
    """`DateTime(timezone=True)` on PostgreSQL: asyncpg would take a time without its zone for one in UTC."""

    def bind_processor(self, dialect: Dialect) -> Process:
        return _aware if self.timezone else None


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("expected a time with its zone, got one without; use datetime.now(UTC).")
    return value


class Postgres(_OverTransaction, PGDialect_asyncpg):
    supports_statement_cache = True
    colspecs = {**PGDialect_asyncpg.colspecs, Numeric: _FiniteNumeric, DateTime: _AwareDateTime}


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def options(name: str) -> dict[str, Any]:
    """What the dialect *name* is made with."""
    own: dict[str, dict[str, Any]] = {
        "sqlite": {"paramstyle": "qmark", "json_deserializer": msgspec.json.decode},
        "postgresql": {"paramstyle": "numeric_dollar"},
    }
    return {"json_serializer": _to_json, **own[name]}


@cache
def sqlite() -> Dialect:
    """SQL for the standard library's sqlite3: `?` parameters."""
    make: Any = Sqlite
    dialect: Dialect = make(**options("sqlite"))
    return dialect


@cache
def postgresql() -> Dialect:
    """SQL for asyncpg: `$1` parameters with their types, so that the server never has to guess one."""
    make: Any = Postgres
    dialect: Dialect = make(**options("postgresql"))
    return dialect
