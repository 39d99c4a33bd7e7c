"""Toque's own tables in one database, read and written as rows, whichever database it is; see `moving`.

In between, values are those of SQLite: seconds, texts, numbers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from toque.store.moving.site import BATCH_ROWS, MovingError
from toque.store.postgres_connection import Connection, connect_to_move
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_writer

__all__ = ["End", "PostgresEnd", "SqliteEnd", "end_of"]

Epoch = tuple[int, str, int]
"""Its number, the cluster's name, and the position above which it lies."""


class End(Protocol):
    """One database."""

    async def close(self) -> None: ...

    def reading(self) -> Any:
        """What is read within is one state."""

    def writing(self) -> Any:
        """What is written within is one transaction."""

    async def columns(self, table: str) -> dict[str, str]:
        """Its columns and their types; none where there is no such table."""
        ...

    async def has_rows(self, table: str) -> bool: ...
    async def count(self, table: str) -> int: ...
    def rows(self, table: str, names: Sequence[str]) -> AsyncIterator[Sequence[Sequence[Any]]]: ...

    def given(self, value: Any, type: str) -> Any:
        """A value of the driver, as it goes to the other end."""

    def taken(self, value: Any, type: str) -> Any:
        """A value of the other end, for the driver."""

    async def empty(self, table: str) -> None: ...
    async def add(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...

    async def last_position(self) -> int:
        """The last position of the log that was given."""
        ...

    async def starts(self) -> int:
        """How often jobs were begun, of those that are there."""
        ...

    async def epochs(self) -> list[Epoch]: ...
    async def places(self, table: str) -> list[tuple[str, str]]: ...
    async def set_place(self, table: str, name: str, cursor: str) -> None: ...

    async def number_from(self, table: str, column: str) -> None:
        """Have new rows numbered above those that are there."""

    async def position_from(self, last: int) -> None: ...
    async def worker_from(self) -> None: ...


async def end_of(url: str) -> End:
    """The database at *url*."""
    if not url.startswith("sqlite"):
        return PostgresEnd(await connect_to_move(url))
    path = path_of(url)
    if path is None:
        raise MovingError("a database in memory cannot be moved; name a file: sqlite:///app.db")
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteEnd(open_writer(path, is_durable=True))


# ruff: noqa: S608 - names of Toque's own tables and columns
class PostgresEnd:
    """See `End`."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    async def close(self) -> None:
        await self._at.close()

    def reading(self) -> Any:
        return self._at.transaction(isolation="repeatable_read", readonly=True)

    def writing(self) -> Any:
        return self._at.transaction()

    async def columns(self, table: str) -> dict[str, str]:
        rows = await self._at.fetch(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'toque' AND table_name = $1 ORDER BY ordinal_position",
            table,
        )
        return {row[0]: row[1] for row in rows}

    async def has_rows(self, table: str) -> bool:
        return bool(await self._at.fetchval(f"SELECT EXISTS (SELECT FROM toque.{table})"))

    async def count(self, table: str) -> int:
        return int(await self._at.fetchval(f"SELECT count(*) FROM toque.{table}") or 0)

    async def rows(self, table: str, names: Sequence[str]) -> AsyncIterator[Sequence[Sequence[Any]]]:
        asked = ", ".join(f"{name}::text" if name == "xid" else name for name in names)
        cursor = await self._at.cursor(f"SELECT {asked} FROM toque.{table}")
        while found := await cursor.fetch(BATCH_ROWS):
            yield found

    def given(self, value: Any, type: str) -> Any:
        if isinstance(value, datetime):
            return value.timestamp()
        return str(value) if isinstance(value, UUID) else value

    def taken(self, value: Any, type: str) -> Any:
        if value is None:
            return None
        if type.startswith("timestamp"):
            return datetime.fromtimestamp(value, UTC)
        if type == "boolean":
            return bool(value)
        return UUID(value) if type == "uuid" else value

    async def empty(self, table: str) -> None:
        await self._at.execute(f"DELETE FROM toque.{table}")

    async def add(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        places = ", ".join(f"${n}::text::xid8" if name == "xid" else f"${n}" for n, name in enumerate(names, 1))
        sql = f"INSERT INTO toque.{table} ({', '.join(names)}) OVERRIDING SYSTEM VALUE VALUES ({places})"
        await self._at.executemany(sql, rows)

    async def last_position(self) -> int:
        return int(
            await self._at.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM toque.event_pos") or 0
        )

    async def starts(self) -> int:
        return int(await self._at.fetchval("SELECT sum(fence)::bigint FROM toque.job") or 0)

    async def epochs(self) -> list[Epoch]:
        rows = await self._at.fetch("SELECT number, system, floor FROM toque.epoch ORDER BY number")
        return [(row[0], row[1], row[2]) for row in rows]

    async def places(self, table: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in await self._at.fetch(f"SELECT name, cursor FROM toque.{table}")]

    async def set_place(self, table: str, name: str, cursor: str) -> None:
        await self._at.execute(f"UPDATE toque.{table} SET cursor = $2 WHERE name = $1", name, cursor)

    async def number_from(self, table: str, column: str) -> None:
        await self._at.execute(
            f"SELECT setval(pg_get_serial_sequence('toque.{table}', '{column}'), last) "
            f"FROM (SELECT max({column}) AS last FROM toque.{table}) AS found WHERE last > 0"
        )

    async def position_from(self, last: int) -> None:
        await self._at.execute("SELECT setval('toque.event_pos', greatest($1::bigint, 1), $1::bigint > 0)", last)

    async def worker_from(self) -> None:
        await self._at.execute(
            "SELECT setval('toque.job_worker', last) "
            "FROM (SELECT max(worker) AS last FROM toque.job) AS found WHERE last > 0"
        )

    # What only this database has.

    async def set_epochs(self, epochs: Sequence[Epoch], last: int) -> None:
        """Have *epochs*; where there are none, one that is over and ends at *last*, and this cluster's own."""
        await self._at.execute("DELETE FROM toque.epoch")
        system = await self._at.fetchval("SELECT system_identifier::text FROM pg_control_system()")
        for epoch in epochs or [(1, "sqlite", 0), (2, system, last)]:
            await self._at.execute("INSERT INTO toque.epoch (number, system, floor) VALUES ($1, $2, $3)", *epoch)

    async def snapshot(self) -> str:
        return str(await self._at.fetchval("SELECT pg_current_snapshot()::text"))

    async def first_unread(self, xmax: str, xip: list[str], at: int, until: str, floor: int) -> int | None:
        found: int | None = await self._at.fetchval(
            "SELECT min(pos) FROM toque.event WHERE (xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])) "
            "AND pos > $5 "
            "AND NOT ($4::text <> '' AND pos <= $3 AND pg_visible_in_snapshot(xid, nullif($4::text, '')::pg_snapshot))",
            *(xmax, xip, at, until, floor),
        )
        return found

    async def first_unread_of_old(self, at: int, seen: str, floor: int) -> int | None:
        found: int | None = await self._at.fetchval(
            "SELECT min(pos) FROM toque.event "
            "WHERE pos > $3 OR (pos > $1 AND NOT pg_visible_in_snapshot(xid, $2::text::pg_snapshot))",
            *(at, seen, floor),
        )
        return found


class SqliteEnd:
    """See `End`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._at = connection

    async def close(self) -> None:
        self._at.close()

    def reading(self) -> Any:
        return self._within("BEGIN", "ROLLBACK")

    def writing(self) -> Any:
        return self._within("BEGIN IMMEDIATE", "COMMIT")

    @asynccontextmanager
    async def _within(self, begin: str, end: str) -> AsyncIterator[None]:
        self._at.execute(begin)
        try:
            yield
        except BaseException:
            self._at.execute("ROLLBACK")
            raise
        self._at.execute(end)

    async def columns(self, table: str) -> dict[str, str]:
        return {row[1]: row[2] for row in self._at.execute(f"PRAGMA table_info(toque_{table})")}

    async def has_rows(self, table: str) -> bool:
        return bool(self._value(f"SELECT EXISTS (SELECT 1 FROM toque_{table})"))

    async def count(self, table: str) -> int:
        return int(self._value(f"SELECT count(*) FROM toque_{table}"))

    async def rows(self, table: str, names: Sequence[str]) -> AsyncIterator[Sequence[Sequence[Any]]]:
        cursor = self._at.execute(f"SELECT {', '.join(names)} FROM toque_{table}")
        while found := cursor.fetchmany(BATCH_ROWS):
            yield found

    def given(self, value: Any, type: str) -> Any:
        return value

    def taken(self, value: Any, type: str) -> Any:
        return value

    async def empty(self, table: str) -> None:
        self._at.execute(f"DELETE FROM toque_{table}")

    async def add(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        places = ", ".join("?" for _ in names)
        self._at.executemany(f"INSERT INTO toque_{table} ({', '.join(names)}) VALUES ({places})", rows)

    async def last_position(self) -> int:
        return int(self._value("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'toque_event'"))

    async def starts(self) -> int:
        return int(self._value("SELECT coalesce(sum(fence), 0) FROM toque_job"))

    async def epochs(self) -> list[Epoch]:
        return []

    async def places(self, table: str) -> list[tuple[str, str]]:
        return list(self._at.execute(f"SELECT name, cursor FROM toque_{table}"))

    async def set_place(self, table: str, name: str, cursor: str) -> None:
        self._at.execute(f"UPDATE toque_{table} SET cursor = ? WHERE name = ?", (cursor, name))

    async def number_from(self, table: str, column: str) -> None:
        """The largest number that is there is enough."""

    async def position_from(self, last: int) -> None:
        self._at.execute("DELETE FROM sqlite_sequence WHERE name = 'toque_event'")
        self._at.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('toque_event', ?)", (last,))

    async def worker_from(self) -> None:
        self._at.execute(
            "INSERT OR IGNORE INTO toque_job_worker (number) "
            "SELECT last FROM (SELECT max(worker) AS last FROM toque_job) WHERE last > 0"
        )

    def _value(self, sql: str) -> Any:
        return self._at.execute(sql).fetchone()[0]
