"""Queries that are followed on a served app: by clients of every worker, until it stops or is served anew."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from running import GIVE_UP_S, Served, serving, until

pytestmark = pytest.mark.xdist_group("served")

FOLLOWERS = 12
"""Enough that each of two workers has some."""


@contextmanager
def following(served: Served) -> Iterator[Iterator[str]]:
    """The lines of one stream, on a connection of its own."""
    with (
        httpx.Client(timeout=GIVE_UP_S) as client,
        client.stream("GET", f"{served.url}/count", headers={"accept": "text/event-stream"}) as answer,
    ):
        assert answer.status_code == 200
        yield answer.iter_lines()


def wait_for(lines: Iterator[str], line: str) -> None:
    assert any(found == line for found in lines), f"no {line!r}"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_commit_reaches_the_clients_of_every_worker(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    settings = {}
    if database == "postgresql":
        settings["database.url"] = request.getfixturevalue("postgres").create_database()
    with serving("board", tmp_path, "--workers", "2", settings=settings) as served:
        followers = [following(served) for _ in range(FOLLOWERS)]
        streams = [follower.__enter__() for follower in followers]
        for lines in streams:
            wait_for(lines, "data: 0")

        httpx.post(f"{served.url}/count", json={"count": 7}, timeout=GIVE_UP_S).raise_for_status()

        for lines in streams:
            wait_for(lines, "data: 7")
        served.signal(signal.SIGTERM)
        for lines in streams:
            wait_for(lines, "event: end")
        assert served.wait() == 0
        for follower in followers:
            follower.__exit__(None, None, None)
        assert served.problems_in_log() == []


def test_a_reload_lets_clients_come_back(tmp_path: Path) -> None:
    with serving("board", tmp_path, command="dev") as served:
        with following(served) as lines:
            wait_for(lines, "data: 0")

            file = served.folder / "app" / "app.py"
            file.write_text(file.read_text().replace('"""A number', '"""One number'))

            # It is told of the end, or cut off: a browser comes back from either by itself.
            with suppress(httpx.HTTPError):
                for _ in lines:
                    pass
        until(served.answers, "the new app")
        with following(served) as lines:
            wait_for(lines, "data: 0")
