"""A file of SQLite that rows are taken from or brought to."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toque.store.dialects import sqlite
from toque.store.moving.site import BATCH_ROWS, STATE_TABLE, MovingError
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_reader, open_writer

if TYPE_CHECKING:
    from sqlalchemy import Table

    from toque.store.moving.shape import Shape

__all__ = ["SqliteSite", "open_site"]


async def open_site(url: str, *, is_new: bool = False) -> SqliteSite:
    path = path_of(url)
    if path is None:
        raise MovingError("a database in memory cannot be moved; name a file: sqlite:///app.db")
    if not is_new and not path.is_file():
        raise MovingError(f"there is no database {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteSite(path, is_new=is_new)


class SqliteSite:
    """One file. Its work is done in the caller's thread: a command moves data and does nothing else."""

    def __init__(self, path: Path, *, is_new: bool) -> None:
        self.dialect = sqlite()
        self.label = f"sqlite:///{path.resolve()}"
        self._path = path
        self._connection = open_writer(path, is_durable=True) if is_new else open_reader(path)
        self._quote = self.dialect.identifier_preparer.quote

    async def close(self) -> None:
        self._connection.close()

    async def tables(self) -> set[str]:
        names = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {name for (name,) in names if not name.startswith("sqlite_")}

    async def has_rows(self, tables: Sequence[Table]) -> list[str]:
        there = await self.tables()
        return [table.name for table in tables if table.name in there and self._has_row(table.name)]

    def _has_row(self, table: str) -> bool:
        found = self._connection.execute(f"SELECT EXISTS (SELECT 1 FROM {self._quote(table)})").fetchone()  # noqa: S608
        return bool(found[0])

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        self._connection.execute("BEGIN")
        try:
            # The first read takes the snapshot.
            self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
            yield
        finally:
            self._connection.execute("ROLLBACK")

    async def rows(self, shape: Shape) -> AsyncIterator[list[Any]]:
        cursor = self._connection.execute(shape.select)
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield rows

    async def count(self, shape: Shape) -> int:
        found: int = self._connection.execute(f"SELECT count(*) FROM {shape.name}").fetchone()[0]  # noqa: S608
        return found

    async def sequence(self, table: Table) -> int | None:
        if not self._counts():
            return None
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).fetchone()
        return None if found is None else int(found[0])

    async def state(self) -> dict[str, str] | None:
        if STATE_TABLE not in await self.tables():
            return None
        return dict(self._connection.execute(f"SELECT name, value FROM {STATE_TABLE}"))  # noqa: S608

    async def note(self, values: Mapping[str, str]) -> None:
        with self._transaction():
            self._note(values)

    async def forget(self) -> None:
        self._connection.execute(f"DROP TABLE IF EXISTS {STATE_TABLE}")

    async def begin_loading(self, tables: Sequence[Table]) -> None:
        # Of this connection alone: every other one still checks.
        self._connection.execute("PRAGMA foreign_keys = OFF")
        if "loading" in (await self.state() or {}):
            return
        with self._transaction():
            for table in tables:
                self._connection.execute(f"DELETE FROM {self._quote(table.name)}")  # noqa: S608
            self._note({"loading": "yes"})

    async def empty(self, shape: Shape, noted: Mapping[str, str]) -> None:
        with self._transaction():
            self._connection.execute(f"DELETE FROM {shape.name}")  # noqa: S608
            self._note(noted)

    async def load(self, shape: Shape, rows: Sequence[Any], noted: Mapping[str, str]) -> None:
        with self._transaction():
            try:
                self._connection.executemany(shape.insert, rows)
            except (sqlite3.Error, OverflowError) as error:
                raise MovingError(f"table {shape.table.name!r}: SQLite refuses a row: {error}") from error
            self._note(noted)

    async def end_loading(self, tables: Sequence[Table], sequences: Mapping[str, int]) -> None:
        broken = self._connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise MovingError(
                f"table {broken[0]!r} has a row (rowid {broken[1]}) that refers to one of {broken[2]!r} that is not "
                "there; mend it in the source and run this again"
            )
        with self._transaction():
            for name, last in sequences.items() if self._counts() else ():
                self._connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, name))

    def _counts(self) -> bool:
        """Whether any table has AUTOINCREMENT; the others go on after their largest key by themselves."""
        found = self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchone()
        return found is not None

    def _note(self, values: Mapping[str, str]) -> None:
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
        )
        self._connection.executemany(f"INSERT OR REPLACE INTO {STATE_TABLE} VALUES (?, ?)", values.items())  # noqa: S608

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
