"""PostgreSQL's part of a backup: every table by COPY, within one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toque.store.moving.archive import Draft, Manifest, Sequence
from toque.store.moving.postgres import OWN, PostgresSite, open_site
from toque.store.postgres_connection import Connection
from toque.store.schema import VERSION_TABLE

__all__ = ["columns_of", "write"]


async def write(url: str, draft: Draft, app: str, app_version: str, progress: Callable[[str], None]) -> Manifest:
    """Copy every table of the database at *url* into *draft*."""
    site = await open_site(url)
    try:
        async with site.snapshot():
            names = [*sorted(await site.tables()), *await site.own_tables()]
            counts = {name: await _table(site, draft, name, progress) for name in names}
            return Manifest(
                database="postgresql",
                app=app,
                app_version=app_version,
                revision=await _revision(site.connection, counts),
                tables=counts,
                sequences=await _sequences(site.connection),
            )
    finally:
        await site.close()


async def _table(site: PostgresSite, draft: Draft, name: str, progress: Callable[[str], None]) -> int:
    progress(name)
    columns = await columns_of(site, name)
    with draft.part(f"tables/{name}.copy", name, columns) as part:

        async def keep(data: bytes) -> None:
            part.write(data)

        schema, _, table = name.rpartition(".") if name.startswith(OWN) else (None, None, name)
        status: str = await site.connection.copy_from_table(
            table, schema_name=schema, columns=columns, output=keep, format="binary"
        )
        part.rows = int(status.rpartition(" ")[2])
    return part.rows


async def columns_of(site: PostgresSite, table: str) -> list[str]:
    """The columns that COPY takes: all but those that the database computes."""
    rows = await site.connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
        "AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        site.sql_name(table),
    )
    return [row[0] for row in rows]


async def _revision(connection: Connection, counts: dict[str, int]) -> str | None:
    if not counts.get(VERSION_TABLE):
        return None
    found: str | None = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
    return found


async def _sequences(connection: Connection) -> list[Sequence]:
    found: list[Any] = await connection.fetch(
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'S' AND n.nspname IN (current_schema(), 'toque') ORDER BY 1"
    )
    sequences = []
    for (name,) in found:
        (row,) = await connection.fetch(f"SELECT last_value, is_called FROM {name}")  # noqa: S608
        sequences.append(Sequence(name=name, last=row[0], is_called=row[1]))
    return sequences
