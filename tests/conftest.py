"""What every test may use: one event loop library, and a fresh database on SQLite and on a real
PostgreSQL."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import private_servers
import toque
from toque.messages.tables import lay_out
from toque.store import Store, open_store
from toque.testing.postgres import PrivatePostgres

# Tests start hundreds of processes of Toque, and half of the time of a start is compiling what nobody has compiled yet.
if "PYTEST_XDIST_WORKER" not in os.environ:
    compileall.compile_dir(Path(toque.__file__).parent, quiet=1)
# Python knows a changed file by its second and its size; tests change files faster than that, and some to equal sizes.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
# httpx reads every certificate that the system trusts, 50 ms of them, for each client and without TLS too. One of
# nobody takes no time.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("nobody.pem"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """A private PostgreSQL; each process of pytest-xdist has its own."""
    yield from private_servers.postgres()


CONFIGURATION = """
[databases]
* = host={server} user={role}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
pool_mode = transaction
default_pool_size = 2
auth_type = any
"""


@pytest.fixture
def pooler(postgres: PrivatePostgres, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder of a PgBouncer's socket, in transaction mode and with two sessions, for the role in the parameter."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI must test with PgBouncer: install pgbouncer.")
        pytest.skip("no PgBouncer to start: install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="toque-pgb-"))
    role = getattr(request, "param", "postgres")
    server = postgres.url().partition("host=")[2]
    (folder / "pgbouncer.ini").write_text(CONFIGURATION.format(server=server, folder=folder, role=role))
    # It refuses to run as root, as PostgreSQL does.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], user=user, stdout=log, stderr=log)
    try:
        yield folder
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


DIALECTS = ["sqlite", "postgresql"]


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, once on SQLite and once on PostgreSQL."""
    yield from _empty_database(request, tmp_path / "test.db")


@pytest.fixture(params=DIALECTS)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of another one, for what is moved: each kind into each kind."""
    yield from _empty_database(request, tmp_path / "target.db")


def _empty_database(request: pytest.FixtureRequest, file: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{file}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def metadata() -> Any:
    """The tables that `store` begins with; override it beside the tests that need some."""
    return None


@pytest.fixture
async def log_store(database_url: str) -> AsyncIterator[Store]:
    """A started store with Toque's own tables and no others: the same test runs on both databases."""
    await lay_out(database_url)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def store(database_url: str, metadata: Any) -> AsyncIterator[Store]:
    """A started store with the tables of `metadata`: the same test runs on both databases."""
    if metadata is not None:
        from toque.store.schema import create_missing

        await create_missing(database_url, metadata)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()
