"""A backup's tables back into PostgreSQL, all in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from asyncpg import DeadlockDetectedError, LockNotAvailableError  # type: ignore[import-untyped]

from toque.store.moving.archive import Archive, Manifest, Part
from toque.store.moving.postgres import FOREIGN_KEYS, OWN, PostgresSite, force, open_site, unforced
from toque.store.moving.postgres_backup import columns_of
from toque.store.moving.site import MovingError, is_ours
from toque.store.moving.trigger_modes import enable, modes
from toque.store.postgres_errors import FAILURES
from toque.store.preparation import MIGRATIONS
from toque.store.schema import VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.postgres_connection import Connection

__all__ = ["LayOut", "read"]

LayOut = Callable[[str], Awaitable[object]]
"""Makes Toque's own tables in the database at an address."""

LOCK_TRY_MS = 800
"""How long a table is waited for at a time: less than PostgreSQL's `deadlock_timeout`, after which it ends one of two
who wait for each other: the app's transaction, which is tried again (`store/attempts.py`)."""

LOCK_WITHIN_S = 15.0
"""How long other programs may keep the tables, all in all: what is waited for here also waits for us, and the app with
it."""


async def read(
    url: str,
    archive: Archive,
    metadata: MetaData,
    folder: Path,
    *,
    replace: bool,
    progress: Callable[[str], None],
    lay_out: LayOut,
    restored: Mapping[str, str],
) -> None:
    """Make the rows of the database at *url* those that *archive* holds; *lay_out* makes Toque's own tables."""
    manifest = archive.manifest
    if manifest.database != "postgresql":
        raise MovingError("the backup is of SQLite; restore it into a file, and bring it here by `toque db copy`")
    site = await open_site(url, is_new=True)
    try:
        if await _is_empty(site):
            await _make_tables(url, manifest, metadata, folder)
        else:
            await _check_target(site, manifest, replace=replace)
        parts = _parts(manifest, metadata)
        if any(part.table.startswith(OWN) for part in parts):
            await lay_out(url)
        await _check_columns(site, parts)
        async with site.connection.transaction():
            await _load(site, archive, parts, progress)
            for part in parts:
                if statement := restored.get(part.table.removeprefix(OWN)) if part.table.startswith(OWN) else None:
                    await site.connection.execute(statement.replace("@table", part.table))
    except FAILURES as error:
        raise MovingError(f"the backup does not fit this database, which is as it was: {error}") from error
    finally:
        await site.close()


def _parts(manifest: Manifest, metadata: MetaData) -> list[Part]:
    """The tables that are put back: all but our own notes, of which only kept answers are the app's (`replies`)."""
    return [part for part in manifest.parts if part.table in metadata.tables or not is_ours(part.table)]


async def _is_empty(site: PostgresSite) -> bool:
    return not await site.tables()


async def _make_tables(url: str, manifest: Manifest, metadata: MetaData, folder: Path) -> None:
    if manifest.revision is not None:
        from toque.store import migrations

        await migrations.upgrade(url, metadata, folder / MIGRATIONS, manifest.revision)
    else:
        from toque.store.schema import create_missing

        await create_missing(url, metadata)


async def _check_target(site: PostgresSite, manifest: Manifest, *, replace: bool) -> None:
    there = sorted(name for name in await site.tables() if not is_ours(name))
    full = [name for name in there if await site.has_row(site.quote(name))]
    if full and not replace:
        raise MovingError(
            f"the database has rows, in {', '.join(full)}; --replace puts the backup in the place of all of them"
        )
    if strange := [name for name in full if name not in manifest.tables]:
        raise MovingError(f"the database has rows in tables that the backup lacks: {', '.join(strange)}; remove them")
    at = None
    if VERSION_TABLE in await site.tables():
        at = await site.connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
    if at != manifest.revision:
        raise MovingError(
            f"the database is at migration {at or 'none'} and the backup at {manifest.revision or 'none'}; "
            "restore into an empty database, then run `toque db upgrade`"
        )


async def _check_columns(site: PostgresSite, parts: list[Part]) -> None:
    for part in parts:
        if missing := sorted(set(part.columns) - set(await columns_of(site, part.table))):
            raise MovingError(
                f"table {part.table!r} of the backup has columns that the models lack: {', '.join(missing)}; "
                "restore with the release that made it"
            )


async def _load(site: PostgresSite, archive: Archive, parts: list[Part], progress: Callable[[str], None]) -> None:
    connection = site.connection
    names = [site.sql_name(part.table) for part in parts]
    # What followed the rows that go says nothing of those that come.
    emptied = sorted({*names, *await site.own_tables()})
    await _lock(connection, emptied)
    keys = [tuple(row) for row in await connection.fetch(FOREIGN_KEYS, names)]
    for table, name, _ in keys:
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {site.quote(name)}")
    triggers = await modes(connection, names)
    for name in names:
        await connection.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
    forced = await unforced(connection, names)
    if emptied:
        await connection.execute(f"TRUNCATE {', '.join(emptied)}")
    for part in parts:
        progress(part.table)
        await _table(site, archive, part)
    await enable(connection, names, triggers)
    for table, name, definition in keys:
        await connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {site.quote(name)} {definition}")
    await force(connection, forced)
    for sequence in archive.manifest.sequences:
        await connection.execute(
            "SELECT setval(to_regclass($1), $2, $3)", sequence.name, sequence.last, sequence.is_called
        )


async def _lock(connection: Connection, names: list[str]) -> None:
    """Have all tables before anything is done: an app that takes them in another order deadlocks with us."""
    until = monotonic() + LOCK_WITHIN_S
    for name in names:
        while not await _is_locked(connection, name):
            if monotonic() > until:
                raise MovingError(f"table {name} is in use for longer than {LOCK_WITHIN_S:g} s; see `toque db status`")


async def _is_locked(connection: Connection, name: str) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TRY_MS}")
            await connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
    except (LockNotAvailableError, DeadlockDetectedError):
        return False
    return True


async def _table(site: PostgresSite, archive: Archive, part: Part) -> None:
    schema, _, table = part.table.rpartition(".") if part.table.startswith(OWN) else (None, None, part.table)
    status: str = await site.connection.copy_to_table(
        table, schema_name=schema, columns=part.columns, source=_later(archive.chunks(part)), format="binary"
    )
    if status != f"COPY {part.rows}":
        raise MovingError(f"table {part.table!r} has other rows than the manifest says: {status}, not {part.rows}")


async def _later(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
