"""A database of PostgreSQL that rows are taken from or brought to, by COPY."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from toque.contract.errors import Unavailable
from toque.store.dialects import postgresql
from toque.store.moving.site import BATCH_ROWS, STATE_TABLE, MovingError
from toque.store.moving.trigger_modes import enable, modes
from toque.store.postgres_connection import Connection, connect_to_move
from toque.store.postgres_errors import FAILURES
from toque.store.row_security import SYSTEM_ON

if TYPE_CHECKING:
    from sqlalchemy import Table

    from toque.store.moving.shape import Shape

__all__ = ["FOREIGN_KEYS", "OWN", "PostgresSite", "force", "open_site", "unforced"]


async def open_site(url: str, *, is_new: bool = False) -> PostgresSite:
    try:
        connection = await connect_to_move(url)
    except FAILURES as error:
        raise Unavailable(f"the database cannot be reached: {error}") from error
    return PostgresSite(connection, url)


class PostgresSite:
    """One database, on one connection of its own."""

    def __init__(self, connection: Connection, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", []))
        self.dialect = postgresql()
        self.label = f"postgresql://{host}{parts.path}"
        self.connection = connection
        self.quote = self.dialect.identifier_preparer.quote

    async def close(self) -> None:
        await self.connection.close()

    async def tables(self) -> set[str]:
        rows = await self.connection.fetch(_TABLES)
        return {row[0] for row in rows}

    async def own_tables(self) -> list[str]:
        """Toque's own tables with rows of the app's, written as in SQL: its log, and what follows it."""
        return [f"{OWN}{row[0]}" for row in await self.connection.fetch(_OWN_TABLES)]

    def sql_name(self, table: str) -> str:
        """The name of one of `tables` or of `own_tables`, as in SQL."""
        return table if table.startswith(OWN) else self.quote(table)

    async def has_rows(self, tables: Sequence[Table]) -> list[str]:
        there = await self.tables()
        name_of = self.dialect.identifier_preparer.format_table
        return [table.name for table in tables if table.name in there and await self.has_row(name_of(table))]

    async def has_row(self, name: str) -> bool:
        """Whether the table *name*, written as in SQL, has any row."""
        async with self.snapshot():
            return bool(await self.connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {name})"))  # noqa: S608

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            # Sensitive tables show their rows to the app's own work; what others keep rows back with is not known here.
            await self.connection.execute(SYSTEM_ON)
            if hiding := [row[0] for row in await self.connection.fetch(_HIDING)]:
                raise MovingError(
                    f"row level security that is not the models' may keep rows of {', '.join(hiding)} from this role; "
                    "connect as one with BYPASSRLS"
                )
            yield

    async def rows(self, shape: Shape) -> AsyncIterator[list[Any]]:
        cursor = await self.connection.cursor(shape.select)
        while rows := await cursor.fetch(BATCH_ROWS):
            yield rows

    async def count(self, shape: Shape) -> int:
        return int(await self.connection.fetchval(f"SELECT count(*) FROM {shape.name}") or 0)  # noqa: S608

    async def sequence(self, table: Table) -> int | None:
        name = await self._sequence_of(table)
        if name is None:
            return None
        found: int | None = await self.connection.fetchval(f"SELECT last_value FROM {name} WHERE is_called")  # noqa: S608
        return found

    async def _sequence_of(self, table: Table) -> str | None:
        column = table.autoincrement_column
        if column is None:
            return None
        name = self.dialect.identifier_preparer.format_table(table)
        found: str | None = await self.connection.fetchval("SELECT pg_get_serial_sequence($1, $2)", name, column.name)
        return found

    async def state(self) -> dict[str, str] | None:
        if STATE_TABLE not in await self.tables():
            return None
        return {name: value for name, value in await self.connection.fetch(f"SELECT name, value FROM {STATE_TABLE}")}  # noqa: C416, S608

    async def note(self, values: Mapping[str, str]) -> None:
        await self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} (name text PRIMARY KEY, value text NOT NULL)"
        )
        await self.connection.executemany(
            f"INSERT INTO {STATE_TABLE} VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",  # noqa: S608
            list(values.items()),
        )

    async def forget(self) -> None:
        await self.connection.execute(f"DROP TABLE IF EXISTS {STATE_TABLE}")

    async def begin_loading(self, tables: Sequence[Table]) -> None:
        state = await self.state() or {}
        if state.get("foreign_keys"):
            return
        names = [self.dialect.identifier_preparer.format_table(table) for table in tables]
        # One transaction: whoever dies here has dropped nothing, and whoever dies later finds all in the state.
        async with self.connection.transaction():
            keys = [list(row) for row in await self.connection.fetch(FOREIGN_KEYS, names)]
            forced = await unforced(self.connection, names)
            found = {"foreign_keys": keys, "forced": forced, "triggers": await modes(self.connection, names)}
            await self.note({name: json.dumps(each) for name, each in found.items()} | {"loading": "yes"})
            for table, name, _ in keys:
                await self.connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {self.quote(name)}")
            for name in names:
                await self.connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
            if names and "loading" not in state:
                await self.connection.execute(f"TRUNCATE {', '.join(names)}")

    async def empty(self, shape: Shape, noted: Mapping[str, str]) -> None:
        async with self.connection.transaction():
            await self.connection.execute(f"TRUNCATE {shape.name}")
            await self.note(noted)

    async def load(self, shape: Shape, rows: Sequence[Any], noted: Mapping[str, str]) -> None:
        table = shape.table
        async with self.connection.transaction():
            try:
                await self.connection.copy_records_to_table(
                    table.name,
                    schema_name=table.schema,
                    columns=[column.name for column in shape.columns],
                    records=rows,
                )
            except FAILURES as error:
                raise MovingError(f"table {table.name!r}: PostgreSQL refuses a row: {error}") from error
            await self.note(noted)

    async def end_loading(self, tables: Sequence[Table], sequences: Mapping[str, int]) -> None:
        state = await self.state() or {}
        keys, forced, triggers = (
            json.loads(state.get(name) or "[]") for name in ("foreign_keys", "forced", "triggers")
        )
        async with self.connection.transaction():
            names = [self.dialect.identifier_preparer.format_table(table) for table in tables]
            await enable(self.connection, names, triggers)
            for table in tables:
                await self._let_go_on(table, sequences.get(table.name, 0))
            for table_name, name, definition in keys:
                await self._put_back(table_name, name, definition)
            await force(self.connection, forced)
            await self.note({"foreign_keys": "", "forced": "", "triggers": ""})

    async def _let_go_on(self, table: Table, last: int) -> None:
        """Give keys behind the largest, and behind *last*: that one's row may be gone, and its number is known."""
        sequence, column = await self._sequence_of(table), table.autoincrement_column
        if sequence is None or column is None:
            return
        name = self.dialect.identifier_preparer.format_table(table)
        largest = f"SELECT greatest(max({self.quote(column.name)}), $2) AS last FROM {name}"  # noqa: S608
        await self.connection.execute(
            f"SELECT setval($1::text::regclass, last) FROM ({largest}) AS found WHERE last > 0",  # noqa: S608
            sequence,
            last,
        )

    async def _put_back(self, table: str, name: str, definition: str) -> None:
        try:
            await self.connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {self.quote(name)} {definition}")
        except FAILURES as error:
            detail = getattr(error, "detail", None) or error
            raise MovingError(
                f"table {table} has a row that refers to one that is not there ({name}): {detail} "
                "Mend it in the source and run this again"
            ) from error


async def unforced(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Lift the rules of sensitive ones among *tables* from their owner, and return these, for `force`.

    COPY FROM a client is not done with row level security (PostgreSQL's manual, "COPY", Notes). All others stay held.
    """
    forced = [row[0] for row in await connection.fetch(_FORCED, tables)]
    for table in forced:
        await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    return forced


async def force(connection: Connection, tables: Sequence[str]) -> None:
    """Let the rules of *tables* hold their owner again."""
    for table in tables:
        await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


_FORCED = """
SELECT oid::regclass::text FROM pg_class
WHERE relforcerowsecurity AND oid = ANY (SELECT unnest($1::text[])::regclass) ORDER BY 1
"""

_HIDING = r"""
SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relrowsecurity AND row_security_active(c.oid) AND (
    NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'toque_read')
    OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname NOT LIKE 'toque\_%')
) ORDER BY 1
"""
"""Tables with rules for this role, of which not all are ours."""

OWN = "toque."
"""Where Toque keeps its own tables (`toque.log.layout`)."""

_TABLES = """
SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p')
    AND nspname NOT IN ('pg_catalog', 'information_schema', 'toque') AND nspname NOT LIKE 'pg_t%'
"""

_OWN_TABLES = """
SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname = 'toque' AND relname <> 'layout' AND relname NOT LIKE 'change%' ORDER BY relname
"""
"""Without the note of what was laid out, and without what was changed in the last minutes: those are facts of the
database that they are in."""

FOREIGN_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conparentid = 0 AND conrelid = ANY (SELECT unnest($1::text[])::regclass)
ORDER BY 1, 2
"""
