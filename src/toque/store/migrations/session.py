"""The one connection of the one migrator: who else wants to migrate waits until it is gone.

The lock belongs to the connection (PostgreSQL: a session's advisory lock) or to the process (SQLite: flock(2) on
a file beside the database). Both end with the process, however it ends; a lock in a table would stay.
"""

from __future__ import annotations

import asyncio
import fcntl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import sleep
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, create_engine, event

from toque.store.migrations.phases import LOCK_TIMEOUT_MS
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.row_security import SYSTEM
from toque.store.schema import LOCK_ID, connected
from toque.store.sqlite import path_of

__all__ = ["autocommit", "in_session", "is_sqlite", "own_transaction", "reading"]

T = TypeVar("T")

_READS = "toque_reads"

POLL_S = 0.2
# Ten minutes: a migration that takes longer is a backfill, and whoever waits for one should look at it.
POLLS_MAX = 3000


async def in_session(url: str, act: Callable[[Connection], T], reports: Reports | None = None) -> T:
    """What *act* comes to on a connection outside of any transaction.

    Args:
        reports: given, *act* runs while nobody else migrates; else it only reads.
    Raises: Refused when another migrator has not ended in time.
    """
    act = partial(_quietly, act)
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_on_sqlite, url, act, reports)
    return await asyncio.to_thread(lambda: asyncio.run(_on_postgres(url, act, reports)))


def _quietly(act: Callable[[Connection], T], connection: Connection) -> T:
    with warnings.catch_warnings():
        # Of what SQLite's tables have and SQLAlchemy does not reflect: it is read and restored (sqlite_declared.py).
        warnings.filterwarnings("ignore", "(?i).*expression-based ind")
        warnings.filterwarnings("ignore", "Unnamed CHECK constraint")
        return act(connection)


def is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


@contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """A transaction that only reads, and so waits for no writer on SQLite."""
    connection.info[_READS] = True
    try:
        with own_transaction(connection):
            yield
    finally:
        connection.info[_READS] = False


@contextmanager
def own_transaction(connection: Connection) -> Iterator[None]:
    """A transaction of its own, or the one around it."""
    if connection.in_transaction():
        yield
        return
    with connection.begin():
        yield


@contextmanager
def autocommit(connection: Connection) -> Iterator[None]:
    """Outside of any transaction, as CREATE INDEX CONCURRENTLY demands on PostgreSQL."""
    if is_sqlite(connection) or connection.in_transaction():
        with own_transaction(connection):
            yield
        return
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        yield
    finally:
        connection.rollback()
        connection.execution_options(isolation_level="READ COMMITTED")


def _on_sqlite(url: str, act: Callable[[Connection], T], reports: Reports | None) -> T:
    path = path_of(url)
    if path is None:
        raise ValueError("a database in memory is known by its store's url only; pass store.url.")
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}")

    # As in schema.py; and foreign keys off, or dropping a table that is being rebuilt would delete the rows that
    # refer to it (SQLite's documentation, "Making Other Kinds Of Table Schema Changes", step 1).
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_MS}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.info.get(_READS) else "BEGIN IMMEDIATE")

    try:
        with path.with_name(f"{path.name}-migrating").open("w") as file:
            if reports is not None:
                _await_turn(lambda: _locked(file), reports)
            with engine.connect() as connection:
                return act(connection)
    finally:
        engine.dispose()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _on_postgres(url: str, act: Callable[[Connection], T], reports: Reports | None) -> T:
    # Nothing is prepared for a second time: the tables that a plan was made for change here.
    how: dict[str, Any] = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    how["server_settings"] = {"application_name": "toque migrate"}

    def locked_and_acting(connection: Connection) -> T:
        if reports is not None:
            _await_turn(lambda: _advised(connection), reports)
            _see_all(connection)
        return act(connection)

    async with connected(url, **how) as connection:
        return await connection.run_sync(locked_and_acting)


def _advised(connection: Connection) -> bool:
    # Tried, never awaited: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY of the one that
    # has the lock would wait for that snapshot.
    found = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK_ID})").scalar()
    connection.commit()
    return bool(found)


def _see_all(connection: Connection) -> None:
    """For the rest of the session: what fills a column must meet every row, and the rules of sensitive tables hold
    their owner too. A look, which an app may take through a pooler, leaves nothing in a session."""
    connection.exec_driver_sql(f"SET {SYSTEM} TO 'on'")
    connection.commit()


def _await_turn(is_ours: Callable[[], bool], reports: Reports) -> None:
    for poll in range(POLLS_MAX):
        if is_ours():
            return
        if poll == 0:
            reports.say("another migrator is at work; waiting until it is done")
        sleep(POLL_S)
    raise Refused("another migrator is still at work; see `toque db current`, and try again when it is done.")
