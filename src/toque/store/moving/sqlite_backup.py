"""SQLite's part of a backup: the file itself, copied within one snapshot."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from toque.store.moving.archive import Archive, Draft, Manifest
from toque.store.moving.site import MovingError, is_ours
from toque.store.sqlite import path_of
from toque.store.sqlite_connection import open_reader, open_writer

__all__ = ["check", "read", "write"]

PART = "database.sqlite"
# How long writers may keep the file before a restore gives up: SQLite's own customary 5 s.
BUSY_MS = 5000


def write(url: str, draft: Draft, app: str, app_version: str, progress: Callable[[str], None]) -> Manifest:
    """Copy the file at *url* into *draft*."""
    path = path_of(url)
    if path is None or not path.is_file():
        raise MovingError(f"there is no database {path or 'in memory'}")
    progress(path.name)
    copied = draft.folder / PART
    with closing(open_reader(path)) as source, closing(sqlite3.connect(copied, isolation_level=None)) as target:
        # All pages in one step are one read transaction, which blocks nobody in WAL mode
        # (https://www.sqlite.org/backup.html). VACUUM INTO of SQLite 3.40 fails on a table with a stored generated
        # column.
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = DELETE")
    with closing(open_reader(copied)) as connection:
        _check(connection)
        tables = _tables(connection)
        revision = _revision(connection, tables)
    with draft.part(PART) as part:
        part.copy(copied)
    return Manifest(database="sqlite", app=app, app_version=app_version, revision=revision, tables=tables)


def check(archive: Archive) -> None:
    """Raises: MovingError where the file in *archive* is no sound database, or has not the rows that it should."""
    with tempfile.TemporaryDirectory(prefix="toque-") as folder:
        _extracted(archive, Path(folder))


def read(
    url: str, archive: Archive, *, replace: bool, progress: Callable[[str], None], restored: Mapping[str, str]
) -> None:
    """Make the file at *url* what *archive* holds, in one transaction: programs that have it open see all or
    nothing of it."""
    path = path_of(url)
    if path is None:
        raise MovingError("a database in memory is gone with its process; restore into a file: sqlite:///app.db")
    if archive.manifest.database != "sqlite":
        raise MovingError("the backup is of PostgreSQL; restore it there, and bring it here by `toque db copy`")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".toque-", dir=path.parent) as folder,
        closing(open_writer(_extracted(archive, Path(folder)), is_durable=False)) as source,
        closing(open_writer(path, is_durable=True)) as target,
    ):
        if not replace and (full := [name for name, rows in _tables(target).items() if rows and not is_ours(name)]):
            raise MovingError(
                f"the database has rows, in {', '.join(full)}; --replace puts the backup in the place of all of them"
            )
        progress(path.name)
        target.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        for table, statement in restored.items():
            if f"toque_{table}" in archive.manifest.tables:
                source.execute(statement.replace("@table", f"toque_{table}"))
        try:
            source.backup(target)
        except sqlite3.Error as error:
            raise MovingError(f"the file could not be replaced ({error}), and is as it was; stop the app") from error


def _extracted(archive: Archive, folder: Path) -> Path:
    file = folder / PART
    archive.extract(archive.manifest.parts[0], file)
    with closing(open_reader(file)) as connection:
        _check(connection)
        if _tables(connection) != archive.manifest.tables:
            raise MovingError("the backup is damaged: its tables do not have the rows that its manifest says")
    return file


def _check(connection: sqlite3.Connection) -> None:
    try:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise MovingError(f"the database is damaged: {found}")


def _tables(connection: sqlite3.Connection) -> dict[str, int]:
    # Without what was laid out and changed: those are facts of the file itself, as on PostgreSQL.
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@' "
        "AND name NOT LIKE 'toque@_change%' ESCAPE '@' AND name <> 'toque_layout'"
    )
    counts = {}
    for (name,) in names.fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        counts[name] = connection.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]  # noqa: S608
    return counts


def _revision(connection: sqlite3.Connection, tables: dict[str, int]) -> str | None:
    if not tables.get("alembic_version"):
        return None
    found: str = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    return found
