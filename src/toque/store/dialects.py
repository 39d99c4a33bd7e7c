"""The two SQL dialects, each loaded where it is wanted: SQLAlchemy's for PostgreSQL is a tenth of an app's start."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy.engine import Dialect

__all__ = ["OverTransaction", "Unfit", "aware", "options", "postgresql", "sqlite"]


class Unfit(ValueError):
    """A value that does not fit its column. It says what would, and nothing of the value: a caller may read it."""


class _Driver:
    """What SQLAlchemy takes for the driver's module. No error is one of its own: ours pass through unwrapped."""

    class Error(Exception):
        pass


class OverTransaction:
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

    def _deliver_insertmanyvalues_batches(  # noqa: PLR0917 - as SQLAlchemy has it
        self, connection: Any, cursor: Any, statement: Any, parameters: Any, generic_setinputsizes: Any, context: Any
    ) -> Any:
        stock: Any = super()
        given = (connection, cursor, statement, parameters, generic_setinputsizes, context)
        for batch in stock._deliver_insertmanyvalues_batches(*given):
            # What is to be run is compared with it (`session.py`).
            context.statement = batch.replaced_statement
            yield batch

    def do_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.set_savepoint(name)

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.end_savepoint(name, is_kept=False)

    def do_release_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.end_savepoint(name, is_kept=True)


def aware(value: Any) -> Any:
    """*value*, which is no time without its zone. Raises: Unfit."""
    if isinstance(value, datetime) and value.tzinfo is None:
        raise Unfit("expected a time with its zone, as 2026-12-01T08:00:00Z or datetime.now(UTC), got one without.")
    return value


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
    from toque.store.sqlite_dialect import Sqlite

    make: Any = Sqlite
    dialect: Dialect = make(**options("sqlite"))
    return dialect


@cache
def postgresql() -> Dialect:
    """SQL for asyncpg: `$1` parameters with their types, so that the server never has to guess one."""
    from toque.store.postgres_dialect import Postgres

    make: Any = Postgres
    dialect: Dialect = make(**options("postgresql"))
    return dialect
