"""Threads that wait for connections, whose owners wait for threads: fastapi#3205, and the same crowd at Toque.

Nothing is timed: what holds what is counted, in the servers themselves.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from running import GIVE_UP_S, serving, until
from wire import Wire, ask, get

pytestmark = pytest.mark.xdist_group("served")

CROWD = 100
CONNECTIONS, THREADS = 15, 40
STUCK = {"connections": CONNECTIONS, "threads": THREADS}


@contextmanager
def wedging_fastapi(folder: Path) -> Iterator[int]:
    """The app of wedging_fastapi.py on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (folder / "fastapi.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "wedging_fastapi:app", "--port", str(port), "--log-level", "warning"],
            cwd=Path(__file__).parent,
            env={**os.environ, "DATABASE_FILE": str(folder / "wedging.db")},
            stdout=log,
            stderr=log,
        )
    try:
        yield port
    finally:
        process.kill()  # It would wait for its threads, and they wait for half a minute.
        process.wait(GIVE_UP_S)


def test_threads_and_connections_that_wait_for_one_another_stop_a_fastapi_app(tmp_path: Path) -> None:
    """What ours is measured by: should this fail, the peers have learnt, and our words about them are to be changed."""

    def look() -> dict[str, int]:
        try:
            found: dict[str, int] = httpx.get(f"http://127.0.0.1:{port}/look", timeout=GIVE_UP_S).json()
        except httpx.ConnectError:
            return {}
        return found

    with wedging_fastapi(tmp_path) as port, ExitStack() as clients:
        until(lambda: look() != {}, "the first answer")
        crowd = [clients.enter_context(Wire(port)) for _ in range(CROWD)]
        for client in crowd:
            client.send(get("/one"))
        until(lambda: STUCK.items() <= look().items(), "every thread to wait for a connection")

        # Nothing changes any more: as many connections as there are, and their owners wait for a thread.
        looks = [look() for _ in range(20)]
        assert all(STUCK.items() <= each.items() for each in looks)
        assert all(each["waiting_for_threads"] >= CONNECTIONS for each in looks)


def test_the_same_crowd_is_answered_here(tmp_path: Path) -> None:
    """With fewer connections and threads than it takes there, and calls that want either at the same time."""
    settings = {"database.pool_size": 2, "database.waiting_max": CROWD, "calls.threads_max": 2}
    with serving("kitchen", tmp_path, settings=settings) as kitchen:

        def answer(number: int) -> int:
            reply = ask(kitchen.port, get("/one" if number % 2 else "/block?ms=1"))
            assert reply is not None
            return reply.status

        with ThreadPoolExecutor(CROWD) as threads:
            found = Counter(threads.map(answer, range(2 * CROWD)))

        assert found == {200: 2 * CROWD}
        assert kitchen.problems_in_log() == []
