"""What PostgreSQL says of its tables, and the trial of an index in a transaction that is rolled back."""

from __future__ import annotations

import json
from typing import Any

from toque.contract.errors import Unavailable
from toque.store.dialects import postgresql
from toque.store.insight.catalog import Index, Table, Trial, index_name
from toque.store.insight.explaining import explained
from toque.store.insight.statistics import Cost
from toque.store.postgres_connection import Connection, connect_to_move
from toque.store.postgres_errors import FAILURES

__all__ = ["PostgresCatalog", "open_catalog"]

# Making an index locks out writers (CREATE INDEX, "Building Indexes Concurrently"). 16 MB are read and sorted in a
# tenth of a second; a larger table is not tried.
TRIAL_BYTES_MAX = 16 << 20
LIMITS = "SET LOCAL lock_timeout = 100; SET LOCAL statement_timeout = 2000"
"""A trial that has to wait, or takes long, is given up."""

GAIN_MIN = 0.2
"""An index must take a fifth off the planner's cost: less is within its own uncertainty, and every index is paid for
by every write."""

STATEMENTS_MAX = 200


async def open_catalog(url: str) -> PostgresCatalog:
    try:
        return PostgresCatalog(await connect_to_move(url))
    except FAILURES as error:
        raise Unavailable(f"the database cannot be reached: {error}; check TOQUE_DATABASE_URL") from error


class PostgresCatalog:
    """One database, its schema `public` or whichever comes first."""

    has_counters = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._quote = postgresql().identifier_preparer.quote

    async def close(self) -> None:
        await self._connection.close()

    async def tables(self) -> list[Table]:
        tables = {
            row["name"]: Table(
                name=row["name"],
                rows=max(int(row["rows"]), 0),
                bytes=row["bytes"],
                columns=row["columns"],
                scans=row["scans"],
            )
            for row in await self._connection.fetch(_TABLES)
        }
        for row in await self._connection.fetch(_INDEXES):
            if (table := tables.get(row["table_name"])) is not None:
                table.indexes.append(
                    Index(
                        name=row["name"],
                        columns=[column or "" for column in row["columns"]],
                        is_unique=row["indisunique"],
                        is_constraint=row["is_constraint"],
                        is_partial=row["is_partial"],
                        scans=row["scans"],
                    )
                )
        for row in await self._connection.fetch(_FOREIGN_KEYS):
            if (table := tables.get(row["table_name"])) is not None:
                table.foreign_keys.append((row["columns"], row["to"]))
        return list(tables.values())

    async def costs(self) -> list[Cost] | None:
        if await self._connection.fetchval("SELECT to_regclass('pg_stat_statements')") is None:
            return None
        try:
            rows = await self._connection.fetch(_STATEMENTS, STATEMENTS_MAX)
        except FAILURES:
            # The extension is there, and the server was not started with it.
            return None
        return [Cost(row["query"], calls=row["calls"], seconds=row["seconds"], rows=row["rows"]) for row in rows]

    async def plan(self, sql: str) -> str:
        cost, text = await self._planned(sql)
        return text if cost is not None else ""

    async def trial(self, sql: str, table: Table, columns: list[str]) -> Trial:
        if table.bytes > TRIAL_BYTES_MAX:
            return Trial(why_not=f"not tried, because the table has {table.bytes >> 20} MB, and a trial locks it")
        before, _ = await self._planned(sql)
        after, plan = await self._planned(sql, self.create(table.name, columns).replace(" CONCURRENTLY", ""))
        if before is None or after is None:
            return Trial(why_not="not tried, because the table was locked or the statement cannot be planned alone")
        helps = index_name(table.name, columns) in plan and after <= before * (1 - GAIN_MIN)
        return Trial(helps=helps, words=f"cost {before:.0f} -> {after:.0f}")

    async def _planned(self, sql: str, first: str = "") -> tuple[float | None, str]:
        """The planner's cost of *sql* and its plan, after running *first*; all of it is rolled back."""
        transaction = self._connection.transaction(isolation="read_committed", readonly=not first)
        await transaction.start()
        try:
            await self._connection.execute(LIMITS)
            if first:
                await self._connection.execute(first)
            (text,) = await explained(self._connection, sql, "JSON")
            plan: Any = json.loads(text)[0]["Plan"]
            return plan["Total Cost"], text
        except FAILURES:
            # It cannot be planned for any values, or something was locked.
            return None, ""
        finally:
            await transaction.rollback()

    def create(self, table: str, columns: list[str]) -> str:
        listed = ", ".join(map(self._quote, columns))
        name = self._quote(index_name(table, columns))
        return f"CREATE INDEX CONCURRENTLY {name} ON {self._quote(table)} ({listed})"

    def drop(self, index: str) -> str:
        return f"DROP INDEX CONCURRENTLY {self._quote(index)}"


_TABLES = """
SELECT c.relname AS name, c.reltuples AS rows, pg_relation_size(c.oid) AS bytes,
    s.seq_scan + coalesce(s.idx_scan, 0) AS scans,
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum) AS columns
FROM pg_class AS c LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""
_INDEXES = """
SELECT t.relname AS table_name, c.relname AS name, i.indisunique,
    i.indpred IS NOT NULL AS is_partial, s.idx_scan AS scans,
    EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid) AS is_constraint,
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) AS columns
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_stat_user_indexes AS s ON s.indexrelid = i.indexrelid
WHERE t.relnamespace = current_schema()::regnamespace AND i.indisvalid ORDER BY 1, 2
"""
_FOREIGN_KEYS = """
SELECT t.relname AS table_name, k.confrelid::regclass::text AS "to",
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.number ORDER BY c.place) AS columns
FROM pg_constraint AS k JOIN pg_class AS t ON t.oid = k.conrelid
WHERE k.contype = 'f' AND t.relnamespace = current_schema()::regnamespace ORDER BY 1, k.conname
"""
_STATEMENTS = """
SELECT query, calls, total_exec_time / 1000 AS seconds, rows FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC LIMIT $1
"""
