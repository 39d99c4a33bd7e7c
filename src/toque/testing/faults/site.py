"""Where a run takes place: a folder, a fresh database, and on PostgreSQL a proxy before it for each node."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from toque.settings import Secret
from toque.store.sqlite import copy_file
from toque.testing.faults.history import History
from toque.testing.faults.proxy import PostgresProxy
from toque.testing.faults.scenario import Scenario
from toque.testing.postgres import PrivatePostgres

__all__ = ["Ground", "Site"]

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a name of its own is made in it
"""Files there are in memory. A killed process loses nothing of them, and only killed processes are played."""


class Site:
    """One run's own."""

    def __init__(self, folder: Path, url: str, server: PrivatePostgres | None) -> None:
        self.folder = folder
        self.url = url
        self.history_path = folder / "history"
        self.history = History(self.history_path)
        self.proxies: dict[str, PostgresProxy] = {}
        self._server = server

    async def open(self, nodes: Sequence[str]) -> None:
        if self._server is None:
            return
        for name in nodes:
            self.proxies[name] = PostgresProxy(self.url)
            await self.proxies[name].start()

    async def close(self) -> None:
        for proxy in self.proxies.values():
            await proxy.stop()
        self.history.close()

    def url_of(self, node: str) -> str:
        """Where *node* finds the database."""
        return self.proxies[node].url if node in self.proxies else self.url

    def cut(self, node: str) -> None:
        """End every connection of *node* to the database; on SQLite there are none."""
        if node in self.proxies:
            self.proxies[node].cut_all()

    async def hold_file(self, for_s: float) -> None:
        """Be another process that writes to the SQLite file, for that long."""
        await asyncio.to_thread(_hold_file, self.url.removeprefix("sqlite:///"), for_s)

    async def end_sessions(self) -> None:
        """Have PostgreSQL end every session of this database."""
        server, database = self._server, self.url.partition("?")[0].rpartition("/")[2]
        assert server is not None, "SQLite has no sessions"
        sql = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608 - ours
        await asyncio.to_thread(server.sql, sql)

    async def restart_database(self) -> None:
        """Kill the server, and start it again."""
        assert self._server is not None, "SQLite has no server"
        await asyncio.to_thread(self._server.kill)
        await asyncio.to_thread(self._server.start)


def _hold_file(path: str, for_s: float) -> None:
    # Whoever has it may be frozen, and the machine busy.
    connection = sqlite3.connect(path, isolation_level=None, timeout=for_s + 60)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(for_s)
        connection.execute("COMMIT")
    finally:
        connection.close()


class Ground:
    """Where many runs take place: the database is made ready once, and copied for each."""

    def __init__(self, scenario: Scenario, server: PrivatePostgres | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="toque-faults-", dir=MEMORY if MEMORY.is_dir() else None))
        self._scenario = scenario
        self._server = server
        self._template = f"sqlite:///{self.folder / 'template.db'}"

    async def prepare(self) -> None:
        if self._server is not None:
            self._template = self._server.create_database()
        settings = self._scenario.settings
        database = msgspec.structs.replace(settings.database, url=Secret(self._template))
        settings = msgspec.structs.replace(settings, database=database, folder=self.folder)
        await self._scenario.app.serve(settings).prepare_database()

    def site(self, name: str) -> Site:
        """A place for one run."""
        folder = self.folder / name
        folder.mkdir()
        if self._server is None:
            copy_file(self.folder / "template.db", folder / "app.db")
            return Site(folder, f"sqlite:///{folder / 'app.db'}", None)
        template = self._template.partition("?")[0].rpartition("/")[2]
        return Site(folder, self._server.create_database(template), self._server)

    def clear(self, site: Site) -> None:
        """Forget a run in which nothing was found."""
        if self._server is not None:
            self._server.drop_database(site.url)
        shutil.rmtree(site.folder)

    def close(self) -> None:
        """Forget all of it, but for what a finding needs."""
        if not [path for path in self.folder.iterdir() if path.is_dir()]:
            shutil.rmtree(self.folder)
