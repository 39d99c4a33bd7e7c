"""`toque run` and `toque dev`: real servers, told to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest
from shell import SHOP, process, write

from toque.cli.garbage import YOUNG_MAX

GIVE_UP_S = 30


class Running:
    """A command that serves, and what it has printed so far."""

    def __init__(self, started: subprocess.Popen[str]) -> None:
        self.process = started
        self._out: IO[str] = started.stdout  # type: ignore[assignment]
        self.lines: list[str] = []

    def line(self, pattern: str) -> re.Match[str]:
        """The next line like *pattern*."""
        for line in iter(self._out.readline, ""):
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"nothing like {pattern!r} was printed: {self.lines}")

    def rest(self) -> list[str]:
        """What else it printed until its end."""
        return list(self._out)

    def address(self) -> str:
        return self.line(r"on (http://127\.0\.0\.1:\d+) ")[1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(GIVE_UP_S)


@contextmanager
def started(*words: str, cwd: Path, **environ: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "toque", *words]
    environment = {**os.environ, **environ}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            yield Running(running)
        finally:
            if running.poll() is None:
                running.terminate()
                running.wait(GIVE_UP_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_says_where_it_is_and_ends_well_when_told_to(shop: Path, number: signal.Signals) -> None:
    with started("run", "shop", "--port", "0", cwd=shop.parent) as running:
        address = running.address()

        assert httpx.get(f"{address}/sizes/21").json() == [42]
        assert running.stop(number) == 0
        assert "shop 1.2.3 on http://127.0.0.1:" in running.lines[-1]
        assert "(development)" in running.lines[-1]


def test_a_server_that_is_told_twice_to_stop_complains_of_nothing(shop: Path) -> None:
    # `timeout 60 toque run` tells it twice, and so does whoever presses Ctrl-C again.
    with started("run", "shop", "--port", "0", cwd=shop.parent) as running:
        assert httpx.get(f"{running.address()}/sizes/21").json() == [42]

        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert running.stop() == 0
        assert running.rest() == []


COLLECTOR = """
import gc
from toque import App, public

app = App("collector")


@app.query("/collector", allow=public)
async def collector() -> tuple[int, int, bool]:
    return gc.get_freeze_count(), gc.get_threshold()[0], gc.isenabled()
"""


def test_a_worker_s_garbage_collector_leaves_the_app_alone(tmp_path: Path) -> None:
    write(tmp_path, {"collector.py": COLLECTOR})

    with started("run", "collector.py", "--port", "0", cwd=tmp_path) as running:
        frozen, young_max, is_enabled = httpx.get(f"{running.address()}/collector").json()

    # Toque's own modules alone are tens of thousands of objects.
    assert frozen > 10_000
    assert young_max == YOUNG_MAX
    assert is_enabled


PLAIN = """
from toque import App, public

app = App("plain")


@app.query("/answer", allow=public)
async def answer() -> int:
    return 42
"""

KEPT = """
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from toque import App, Database, Model, public

app = App("kept")


class Answer(Model, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)


@app.query("/answer", allow=public)
async def answer(db: Database) -> int:
    return len(await db.all(int, select(Answer.id))) + 42
"""

# Of those who are asked for nothing here.
UNUSED = (
    *("cyclopts", "rich", "attr", "alembic", "asyncpg", "jinja2", "joserfc", "prometheus_client", "opentelemetry"),
    *("httpcore2", "toque.http_client.client", "toque.messages", "toque.log.tail", "toque.contract.manifest"),
    *("sqlalchemy.dialects.postgresql", "toque.transports.static"),
)
WITHOUT_MODELS = ("sqlalchemy", "sqlite3", "toque.cache.cache")


@pytest.mark.parametrize(
    ("app", "unused"), [(PLAIN, (*UNUSED, *WITHOUT_MODELS)), (KEPT, UNUSED)], ids=["plain", "kept"]
)
def test_a_server_loads_what_its_app_uses_and_nothing_else(tmp_path: Path, app: str, unused: tuple[str, ...]) -> None:
    write(tmp_path, {"app.py": app})
    with started("run", "app.py", "--port", "0", cwd=tmp_path) as development:  # It makes the tables.
        assert httpx.get(f"{development.address()}/answer").json() == 42
    # Python says each module that it loads, the worker's too.
    environment = {"TOQUE_APP_ENVIRONMENT": "production", "TOQUE_HTTP_HOSTS": "*", "PYTHONPROFILEIMPORTTIME": "1"}

    with started("run", "app.py", "--port", "0", cwd=tmp_path, **environment) as running:
        assert httpx.get(f"{running.address()}/answer").json() == 42
        running.stop()
        said = [*running.lines, *running.rest()]

    loaded = {line.rpartition("|")[2].strip() for line in said if line.startswith("import time:")}
    assert "toque.serving" in loaded
    assert loaded & set(unused) == set()


def test_flags_win_over_the_environment(shop: Path) -> None:
    with started("run", "shop", "--port", "0", cwd=shop.parent, TOQUE_HTTP_PORT="1") as running:
        assert httpx.get(f"{running.address()}/healthz").status_code == 200


def test_an_operation_is_the_same_behind_several_workers(shop: Path) -> None:
    with started("run", "shop", "--port", "0", "--workers", "2", cwd=shop.parent) as running:
        address = running.address()

        assert {httpx.get(f"{address}/sizes/{size}").json()[0] for size in range(5)} == {0, 2, 4, 6, 8}
        assert running.stop() == 0


def test_a_port_that_is_taken_is_said_with_what_to_do(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        for command in ("run", "dev"):
            said = process(command, "shop", "--port", str(port), cwd=shop.parent)

            assert said.code == 1
            assert f"cannot listen on 127.0.0.1:{port}" in said.err
            assert "--port 0" in said.err
            assert "Traceback" not in said.err


def test_a_wrong_set_up_does_not_start(shop: Path) -> None:
    write(shop, {"app.py": SHOP.replace("allow=public", "allow=None")})

    said = process("run", "shop", "--port", "0", cwd=shop.parent)

    assert said.code == 1
    assert said.out == ""
    assert "The app cannot start: 5 problems." in said.err


@pytest.mark.parametrize("flag", [["--workers", "0"], ["--port", "70000"], ["--port", "-1"]])
def test_a_flag_out_of_range_is_used_wrongly(shop: Path, flag: list[str]) -> None:
    said = process("run", "shop", *flag, cwd=shop.parent)

    assert said.code == 2
    assert "expected a whole number from" in said.err


def test_development_is_not_shown_to_strangers(shop: Path) -> None:
    said = process("run", "shop", "--host", "0.0.0.0", "--port", "0", cwd=shop.parent)

    assert said.code == 2
    assert "TOQUE_APP_ENVIRONMENT=production" in said.err


def test_dev_serves_what_the_files_say_now(shop: Path) -> None:
    with started("dev", "shop", "--port", "0", cwd=shop.parent) as running:
        address = running.address()
        assert httpx.get(f"{address}/sizes/21").json() == [42]

        write(shop, {"app.py": SHOP.replace("size * 2", "size * 3")})
        running.line("reloading: app.py")
        until = time.monotonic() + GIVE_UP_S
        while httpx.get(f"{address}/sizes/21", timeout=GIVE_UP_S).json() != [63]:
            assert time.monotonic() < until
            time.sleep(0.05)

        assert running.stop() == 0


def test_dev_waits_for_a_mistake_to_be_mended(shop: Path) -> None:
    with started("dev", "shop", "--port", "0", cwd=shop.parent) as running:
        address = running.address()
        write(shop, {"app.py": "def broken(:\n"})
        running.line("SyntaxError")

        write(shop, {"app.py": SHOP})

        assert httpx.get(f"{address}/sizes/21", timeout=GIVE_UP_S).json() == [42]
        assert running.stop(signal.SIGINT) == 0
