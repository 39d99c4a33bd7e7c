"""Toque's own tables: made and changed by Toque itself, apart from the app's models and their migrations.

They are in the schema `toque` on PostgreSQL, and begin with `toque_` on SQLite. What was made is noted in a table of
its own, so a new release adds what it needs and nobody's migrations mention it (decision 0023).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from toque.contract.complaints import Complaint
from toque.contract.errors import Unavailable
from toque.log.step import Step

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["complaints", "lay_out"]


TRIES_MAX = 10
AGAIN_S, AGAIN_MAX_S = 0.5, 8.0
"""Between two tries: half a minute and more in all, longer than a slow request (as migrations, `Patience`)."""


async def lay_out(url: str, steps: Sequence[Step]) -> list[str]:
    """Make what the database at *url* lacks: the names of the steps that were run.

    Raises: Unavailable where others held what is to be changed all the while, and nothing was.
    """
    from sqlalchemy.exc import DBAPIError

    from toque.store.schema import with_connection

    for attempt in range(TRIES_MAX):
        try:
            return await asyncio.to_thread(with_connection, url, _making(steps))
        except DBAPIError as error:
            from toque.store.migrations.patience import is_lock_failure  # With it comes Alembic.

            if not is_lock_failure(error):
                raise
        await asyncio.sleep(min(AGAIN_S * 2**attempt, AGAIN_MAX_S))
    raise Unavailable(
        f"Toque's own tables cannot be changed: no lock in {TRIES_MAX} tries, and nothing was changed. A transaction "
        "that goes on, of a backup say, holds one: run it again when that has ended (`toque db status` says how old "
        "the oldest is)"
    )


async def complaints(url: str, steps: Sequence[Step]) -> list[Complaint]:
    """What keeps an app with messages from using the database at *url*."""
    from toque.store.schema import with_connection

    lacking = await asyncio.to_thread(with_connection, url, _looking(steps), is_kept=False)
    if not lacking:
        return []
    problem = f"it lacks Toque's own tables for: {', '.join(lacking)}"
    return [Complaint("database", problem, "run `toque db upgrade`, as a role that may create them")]


def _making(steps: Sequence[Step]) -> Callable[[Connection], list[str]]:
    def make(connection: Connection) -> list[str]:
        dialect = connection.dialect.name
        for statement in _BEFORE[dialect]:
            connection.exec_driver_sql(statement)
        there = set(connection.exec_driver_sql(f"SELECT name FROM {_TABLE[dialect]}").scalars())  # noqa: S608
        missing = [step for step in steps if step.name not in there]
        for step in missing:
            for statement in step.sqlite if dialect == "sqlite" else step.postgresql:
                connection.exec_driver_sql(statement)
            # A step's name is ours, letters and dashes.
            connection.exec_driver_sql(f"INSERT INTO {_TABLE[dialect]} (name) VALUES ('{step.name}')")  # noqa: S608
        return [step.name for step in missing]

    return make


def _looking(steps: Sequence[Step]) -> Callable[[Connection], list[str]]:
    def look(connection: Connection) -> list[str]:
        dialect = connection.dialect.name
        there: set[str] = set()
        if connection.exec_driver_sql(_IS_THERE[dialect]).scalar():
            there = set(connection.exec_driver_sql(f"SELECT name FROM {_TABLE[dialect]}").scalars())  # noqa: S608
        return [step.name for step in steps if step.name not in there]

    return look


_TABLE = {"postgresql": "toque.layout", "sqlite": "toque_layout"}

LOCK_MS = 500

_LOCK_ID = 0x70C0E1
"""Any number that nothing else locks: processes that start together lay out one after the other."""

_BEFORE = {
    "postgresql": (
        f"SELECT pg_advisory_xact_lock({_LOCK_ID})",
        # Whoever waits for a table has everybody wait behind him: he gives up soon, and comes again.
        f"SET LOCAL lock_timeout = '{LOCK_MS}ms'",
        # Asked first: creating what is there already takes a right that a running app need not have.
        """
        DO $$ BEGIN
            IF to_regnamespace('toque') IS NULL THEN CREATE SCHEMA toque; END IF;
            IF to_regclass('toque.layout') IS NULL THEN
                CREATE TABLE toque.layout (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
            END IF;
        END $$
        """,
    ),
    "sqlite": (
        "CREATE TABLE IF NOT EXISTS toque_layout (name TEXT PRIMARY KEY, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    ),
}

_IS_THERE = {
    "postgresql": "SELECT to_regclass('toque.layout') IS NOT NULL",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE name = 'toque_layout'",
}
