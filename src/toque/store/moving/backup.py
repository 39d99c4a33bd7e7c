"""A backup: one consistent state of a database in one file, made while the app goes on writing, and put back.

SQLite's file is copied page by page within one snapshot. PostgreSQL's tables are copied by COPY within one
snapshot, in its binary format, which keeps every value exactly; the schema is that of the app's migrations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toque.store.moving.archive import Manifest, open_archive, writing

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.moving.postgres_restore import LayOut

__all__ = ["backup", "restore", "verify"]

Progress = Callable[[str], None]
"""Told of each part when it begins."""


def _silent(_: str) -> None:
    pass


async def backup(url: str, file: Path, *, app: str, app_version: str, progress: Progress = _silent) -> Manifest:
    """Write one state of the database at *url* into *file*: what it holds.

    Raises: MovingError where *file* is there already, or the database is not.
    """
    with writing(file) as draft:
        if _is_sqlite(url):
            from toque.store.moving import sqlite_backup

            manifest = sqlite_backup.write(url, draft, app, app_version, progress)
        else:
            from toque.store.moving import postgres_backup

            manifest = await postgres_backup.write(url, draft, app, app_version, progress)
        draft.end(manifest)
    return manifest


def verify(file: Path) -> Manifest:
    """Read all of *file*: what it holds. Raises: MovingError where anything is not as it was written."""
    with open_archive(file) as archive:
        archive.verify()
        if archive.manifest.database == "sqlite":
            from toque.store.moving import sqlite_backup

            sqlite_backup.check(archive)
        return archive.manifest


async def _nothing(_: str) -> None:
    pass


NOTHING: Mapping[str, str] = {}


async def restore(
    url: str,
    file: Path,
    metadata: MetaData,
    folder: Path,
    *,
    replace: bool = False,
    progress: Progress = _silent,
    lay_out: LayOut = _nothing,
    restored: Mapping[str, str] = NOTHING,
) -> Manifest:
    """Make the database at *url* what *file* holds, wholly or not at all: what it held.

    Nothing is touched before the whole file has been verified.

    Args:
        folder: where the app's migrations are; they make PostgreSQL's tables.
        replace: whether the rows of a database that has some may go.
        lay_out: makes Toque's own tables, which an app with messages has.
        restored: statements by the table of Toque's own, without prefix, on whose rows they are run in the same
            transaction; `@table` is its name.
    Raises: MovingError.
    """
    manifest = verify(file)
    with open_archive(file) as archive:
        if _is_sqlite(url):
            from toque.store.moving import sqlite_backup

            sqlite_backup.read(url, archive, replace=replace, progress=progress, restored=restored)
        else:
            from toque.store.moving import postgres_restore

            await postgres_restore.read(
                url,
                archive,
                metadata,
                folder,
                replace=replace,
                progress=progress,
                lay_out=lay_out,
                restored=restored,
            )
    return manifest


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")
