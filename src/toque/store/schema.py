"""The schema of a database beside that of the models: `create_missing`, for development.

A new app has no migrations and simply starts: its tables are made from its models. What making tables cannot
put right is said, with the remedy. The work is done by SQLAlchemy's own engines, in a thread: it happens
once, at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import DBAPIError

from toque.contract.errors import Unavailable
from toque.store.row_security import SYSTEM_ON
from toque.store.row_security_check import align
from toque.store.sqlite import path_of

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ReflectedColumn
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["LOCK_ID", "SchemaDrift", "connected", "create_missing", "drift", "lacking", "with_connection"]

T = TypeVar("T")

VERSION_TABLE = "alembic_version"
BUSY_S = 30.0
"""How long SQLite is asked for its write lock. It asks ten times a second, and an app that writes all the time has it
for all but some hundredths of the time: fifty tries were too few."""
# Any number that nothing else locks: workers that start together make the tables one after the other.
LOCK_ID = 0x70C0E


class SchemaDrift(RuntimeError):
    """The database does not have the shape of the models, and starting cannot give it that."""


async def create_missing(url: str, metadata: MetaData) -> list[str]:
    """Make the tables that are missing: their names. Raises SchemaDrift when a table is there but differs."""
    return await asyncio.to_thread(with_connection, url, lambda connection: _create(connection, metadata))


async def lacking(url: str, metadata: MetaData) -> list[str]:
    """What the models need and the database does not have, one sentence each. Views count as tables."""
    return await asyncio.to_thread(
        with_connection, url, lambda connection: _lacking(connection, metadata), is_kept=False
    )


def drift(connection: Connection, metadata: MetaData) -> list[str]:
    """How the tables that are there differ from the models, one sentence each."""
    inspector = inspect(connection)
    existing = set(inspector.get_table_names())
    found = []
    for table in metadata.sorted_tables:
        if table.name in existing:
            found += _table_drift(table, inspector.get_columns(table.name))
    return found


def with_connection(url: str, act: Callable[[Connection], T], *, is_kept: bool = True) -> T:
    """Run *act* in one transaction, kept or (for a look at what would be) rolled back. Not for the event
    loop."""
    if url.startswith("sqlite"):
        return _with_sqlite(url, act, is_kept)
    return asyncio.run(_with_postgres(url, act, is_kept))


def _with_sqlite(url: str, act: Callable[[Connection], T], is_kept: bool) -> T:
    path = path_of(url)
    if path is None:
        raise ValueError("a database in memory is known by its store's url only; pass store.url.")
    # A look makes no folder, and so no database in a place that was never meant.
    if is_kept:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise Unavailable(f"the database cannot be reached: there is no folder {path.parent}; check TOQUE_DATABASE_URL")
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_S})

    # sqlite3 begins transactions behind SQLAlchemy's back and commits before DDL. SQLAlchemy's documentation,
    # "SQLite, Serializable isolation": take both out of its hands. IMMEDIATE, so that workers wait for each
    # other.
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.connect() as connection, connection.begin() as transaction:
            result = act(connection)
            if not is_kept:
                transaction.rollback()
            return result
    finally:
        engine.dispose()


async def _with_postgres(url: str, act: Callable[[Connection], T], is_kept: bool) -> T:
    async with connected(url) as connection, connection.begin() as transaction:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": LOCK_ID})
        # A migration that fills a column must see every row; the rules of sensitive tables hold their owner too.
        await connection.execute(text(SYSTEM_ON))
        result = await connection.run_sync(act)
        if not is_kept:
            await transaction.rollback()
        return result


@asynccontextmanager
async def connected(url: str, **how: Any) -> AsyncIterator[AsyncConnection]:
    """SQLAlchemy's connection to the PostgreSQL at *url*, made as the app's are; *how* goes to the driver.

    Raises: Unavailable when nobody answers there, or not until the end.
    """
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from toque.store.postgres_connection import connect_for_engine

    made = {"async_creator_fn": partial(connect_for_engine, url), **how}
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, connect_args=made)
    try:
        async with aclosing(await _first(engine)) as connection:
            yield connection
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise _unreachable(error) from error
    finally:
        await engine.dispose()


async def _first(engine: AsyncEngine) -> AsyncConnection:
    try:
        return await engine.connect()
    except Exception as error:
        # The socket, asyncpg and SQLAlchemy each have errors of their own for this.
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> Unavailable:
    reason = str(getattr(error, "orig", error)).partition("\n")[0]
    return Unavailable(f"the database cannot be reached: {reason}; check TOQUE_DATABASE_URL")


def _create(connection: Connection, metadata: MetaData) -> list[str]:
    existing = set(inspect(connection).get_table_names())
    missing = [table for table in metadata.sorted_tables if table.name not in existing]
    found = drift(connection, metadata)
    if VERSION_TABLE in existing:
        found += [f"table {table.name!r} is missing" for table in missing]
    if found:
        raise SchemaDrift(
            f"the database differs from the models: {'; '.join(found)}. "
            "Write a migration (toque db revision, toque db upgrade), or remove the development database."
        )
    metadata.create_all(connection, tables=missing, checkfirst=False)
    align(connection, metadata)
    return [table.name for table in missing]


def _lacking(connection: Connection, metadata: MetaData) -> list[str]:
    inspector = inspect(connection)
    found = []
    for schema in {table.schema for table in metadata.sorted_tables}:
        # All at once: a remote database with hundreds of tables would else be asked hundreds of times.
        there = inspector.get_multi_columns(schema=schema, kind=ObjectKind.ANY)
        for table in (table for table in metadata.sorted_tables if table.schema == schema):
            columns = there.get((schema, table.name))
            found += [f"table {table.name!r} is missing"] if columns is None else _lacking_columns(table, columns)
    return found


def _table_drift(table: Any, columns: list[ReflectedColumn]) -> list[str]:
    there = {column["name"]: column for column in columns}
    wanted = {column.name for column in table.columns}
    found = _lacking_columns(table, columns)
    for name in sorted(there.keys() - wanted):
        if not there[name]["nullable"] and there[name].get("default") is None:
            found.append(f"table {table.name!r} demands column {name!r}, which no model has")
    return found


def _lacking_columns(table: Any, columns: list[ReflectedColumn]) -> list[str]:
    there = {column["name"] for column in columns}
    wanted = {column.name for column in table.columns}
    found = []
    for name in sorted(wanted - there):
        near = get_close_matches(name, there - wanted, 1)
        hint = f" (it has {near[0]!r}: renamed?)" if near else ""
        found.append(f"table {table.name!r} lacks column {name!r}{hint}")
    return found
