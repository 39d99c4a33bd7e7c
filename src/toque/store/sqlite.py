"""SQLite: reads beside each other, writes in groups, everything acknowledged on the disk."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toque.call.context import Context
from toque.call.waiting import Waiting
from toque.contract.operation import Isolation, Kind
from toque.store.attempts import Attempts, OnCommit
from toque.store.dialects import sqlite
from toque.store.guard import Guard
from toque.store.plans import Plans
from toque.store.release import Release
from toque.store.snapshot import Snapshots
from toque.store.sqlite_connection import Connection, open_writer
from toque.store.sqlite_errors import translate
from toque.store.sqlite_file import OpenFile
from toque.store.sqlite_presence import Presence
from toque.store.sqlite_readers import Readers
from toque.store.sqlite_reading import SqliteReading
from toque.store.sqlite_writer import Writer
from toque.store.sqlite_writing import SqliteWriting
from toque.store.store import StatementObserver
from toque.store.together import Together

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.sqlite_wall import Wall

__all__ = ["SqliteStore", "copy_file", "open_store", "path_of"]


def open_store(url: str, *, replicas: Sequence[str], is_pooled: bool, **options: Any) -> SqliteStore:
    if replicas or is_pooled:
        raise ValueError("SQLite is one file, without replicas or pooler; remove the setting, or move to PostgreSQL.")
    return SqliteStore(path_of(url), **options)


def path_of(url: str) -> Path | None:
    """The file of `sqlite:///relative` or `sqlite:////absolute`; None for a database in memory."""
    _, _, rest = url.partition("://")
    name = rest.removeprefix("/").partition("?")[0]
    return None if name in ("", ":memory:") else Path(name)


def copy_file(template: Path, target: Path) -> None:
    """A new database that starts as *template*, which no process has open: a fresh one per test in
    milliseconds."""
    if template.with_name(f"{template.name}-wal").exists():
        raise ValueError(f"{template} is open in some process; stop its store before it is copied.")
    shutil.copyfile(template, target)


class SqliteStore:
    """One SQLite file, for this process and others.

    Args:
        path: the file; None is a database of this store's own that is gone when it stops.
        is_durable: whether a commit waits for the disk. Only tests can do without.
    """

    dialect_name = "sqlite"
    has_replicas = False

    def __init__(
        self,
        path: Path | None,
        *,
        slots: int = 10,
        waiting_max: int = 1000,
        observer: StatementObserver | None = None,
        guard: Guard | None = None,
        is_durable: bool = True,
        release: Release | None = None,
    ) -> None:
        # A database in memory is a file that nobody else knows: several connections to one file are the same
        # code everywhere, SQLite's shared memory cache has locks of its own.
        self._folder = tempfile.TemporaryDirectory(prefix="toque-") if path is None else None
        self.path = Path(self._folder.name) / "memory.db" if self._folder else path or Path()
        self.file = OpenFile(self.path)
        self._presence = Presence(self.path, release) if release is not None else None
        self._plans = Plans(sqlite(), guard)
        self._readers = Readers(self.path, slots, waiting_max)
        self._wall: Wall | None = None
        self._is_durable = is_durable and path is not None
        self.writer = Writer(self._open_writer, waiting_max)
        self._snapshots = Snapshots(self._reading, observer)
        self._together = Together(lambda: self._writing(Context("", inf), None, is_alone=True))
        self._attempts = Attempts(self._writing, observer)
        self.query = self._snapshots.query
        self.command = self._attempts.command

    @property
    def repeats(self) -> Counter[str]:
        return self._attempts.repeats

    @property
    def plans(self) -> Plans:
        return self._plans

    @property
    def on_commit(self) -> list[OnCommit]:
        return self._attempts.on_commit

    @property
    def url(self) -> str:
        """Its address, for migrations and other stores; a database in memory has one as long as its store."""
        return f"sqlite:///{self.path}"

    def enforce(self, metadata: MetaData) -> None:
        from toque.store.rule_sql import sensitive
        from toque.store.sqlite_wall import Wall

        guards = sensitive(metadata)
        self._readers.wall = self._wall = Wall(guards) if guards else None

    async def start(self) -> None:
        try:
            await self.writer.start()
        except sqlite3.Error as error:
            raise translate(error) from error
        self.file.open()
        if self._presence is not None:
            self._presence.begin()

    async def stop(self) -> None:
        await self._readers.close()
        # The last connection to close empties the WAL into the file.
        await self.writer.stop()
        if self._presence is not None:
            self._presence.end()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.cleanup)

    @property
    def lines(self) -> Sequence[Waiting[Any]]:
        return [self._readers.waiting, self.writer.waiting]

    def waiting(self, kind: Kind) -> Waiting[Any] | None:
        return self._readers.waiting if kind is Kind.QUERY else self.writer.waiting

    def _open_writer(self) -> Connection:
        return open_writer(self.path, is_durable=self._is_durable, wall=self._wall)

    async def ping(self) -> None:
        self.file.check()
        reader = await self._readers.take()
        try:
            reader.connection.execute("SELECT 1").fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            self._readers.give(reader)

    # One writer at a time, and snapshots for all who read: every isolation is serializable here.

    def _reading(self, context: Context, isolation: Isolation | None, needs_snapshot: bool) -> SqliteReading:
        self.file.check()
        return SqliteReading(self._readers, self._plans, context, needs_snapshot)

    def _writing(self, context: Context, isolation: Isolation | None, *, is_alone: bool = False) -> SqliteWriting:
        # Those whose commits one takes along have been looked at, and wait for it.
        if not is_alone:
            self.file.check()
        together = None if is_alone else self._together
        return SqliteWriting(self.writer, self._plans, context, self._wall, together)
