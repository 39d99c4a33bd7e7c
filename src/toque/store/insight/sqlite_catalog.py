"""What SQLite says of its tables, and the trial of an index in an empty copy of the schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from toque.contract.errors import Unavailable
from toque.store.dialects import sqlite
from toque.store.insight.catalog import Index, Table, Trial, index_name
from toque.store.insight.statistics import Cost
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_reader

__all__ = ["SqliteCatalog", "open_catalog"]

# Rows are counted up to here, which takes a millisecond; a table of more is large whatever its number.
ROWS_COUNTED_MAX = 10_000


async def open_catalog(url: str) -> SqliteCatalog:
    path = path_of(url)
    if path is None or not path.is_file():
        raise Unavailable(
            f"there is no database {path or 'in memory'}; start the app once, or check TOQUE_DATABASE_URL"
        )
    return SqliteCatalog(open_reader(path))


class SqliteCatalog:
    """One file."""

    has_counters = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._quote = sqlite().identifier_preparer.quote

    async def close(self) -> None:
        self._connection.close()

    async def tables(self) -> list[Table]:
        names = self._connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall()
        return [self._table(name) for (name,) in names]

    def _table(self, name: str) -> Table:
        query = f"SELECT count(*) FROM (SELECT 1 FROM {self._quote(name)} LIMIT {ROWS_COUNTED_MAX})"  # noqa: S608
        columns = self._connection.execute("SELECT name, pk FROM pragma_table_info(?)", (name,)).fetchall()
        keys: dict[int, tuple[list[str], str]] = {}
        for number, to, column in self._connection.execute(
            'SELECT id, "table", "from" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
        ):
            keys.setdefault(number, ([], to))[0].append(column)
        primary = [column for column, place in sorted(columns, key=lambda row: row[1]) if place]
        indexes = [self._index(row) for row in self._connection.execute(_INDEXES, (name,)).fetchall()]
        if primary and not any(index.columns == primary for index in indexes):
            # An INTEGER PRIMARY KEY is the table itself.
            indexes.append(Index(name="primary key", columns=primary, is_unique=True, is_constraint=True))
        return Table(
            name=name,
            rows=self._connection.execute(query).fetchone()[0],
            columns=[column for column, _ in columns],
            indexes=indexes,
            foreign_keys=list(keys.values()),
        )

    def _index(self, row: tuple[str, int, str, int]) -> Index:
        name, unique, origin, partial = row
        columns = self._connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,))
        return Index(
            name=name,
            columns=[column or "" for (column,) in columns],
            is_unique=bool(unique),
            is_constraint=origin != "c",
            is_partial=bool(partial),
        )

    async def costs(self) -> list[Cost] | None:
        return None

    async def plan(self, sql: str) -> str:
        return _plan(self._connection, sql)

    async def trial(self, sql: str, table: Table, columns: list[str]) -> Trial:
        name = index_name(table.name, columns)
        with closing(self._scratch()) as scratch:
            before = _plan(scratch, sql)
            scratch.execute(self.create(table.name, columns))
            after = _plan(scratch, sql)
        return Trial(helps=name in after and before != after, words=f"{before or 'no plan'} -> {after}")

    def _scratch(self) -> sqlite3.Connection:
        """A database in memory with the schema and the statistics of the real one, and no rows."""
        scratch = sqlite3.connect(":memory:", isolation_level=None)
        for (text,) in self._connection.execute(_SCHEMA).fetchall():
            try:
                scratch.execute(text)
            except sqlite3.Error:
                # A table of an extension that is not loaded; statements that use it will have no plan.
                continue
        if self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").fetchone():
            scratch.execute("ANALYZE")
            scratch.execute("DELETE FROM sqlite_stat1")
            rows = self._connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()
            scratch.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", rows)
            scratch.execute("ANALYZE sqlite_schema")
        return scratch

    def create(self, table: str, columns: list[str]) -> str:
        listed = ", ".join(map(self._quote, columns))
        return f"CREATE INDEX {self._quote(index_name(table, columns))} ON {self._quote(table)} ({listed})"

    def drop(self, index: str) -> str:
        return f"DROP INDEX {self._quote(index)}"


_INDEXES = 'SELECT name, "unique", origin, partial FROM pragma_index_list(?)'
_SCHEMA = """
SELECT sql FROM sqlite_schema
WHERE sql IS NOT NULL AND type IN ('table', 'index', 'view') AND name NOT GLOB 'sqlite_*'
ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END
"""


def _plan(connection: sqlite3.Connection, sql: str) -> str:
    arguments: list[Any] = [None] * sql.count("?")
    try:
        return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments))
    except sqlite3.Error:
        return ""
