"""Whoever wrote reads what he wrote, over every protocol, while the replica that answers others stands still."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from running import GIVE_UP_S, Served, serving, until
from websockets.sync.client import connect

from toque.testing.postgres import PrivatePostgres

pytestmark = pytest.mark.xdist_group("served")

TRIES_MAX = 50
"""A replica is chosen when it was seen to be fresh: not at the first try."""


class Shelf:
    """The served app, and its replica."""

    def __init__(self, served: Served, replica: PrivatePostgres) -> None:
        self.served = served
        self.url = f"{served.url}/count"
        self._replica = replica
        self._counts = itertools.count(1)

    def pause(self) -> None:
        self._replica.sql("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self._replica.sql("SELECT pg_wal_replay_resume()")

    def stranger_sees(self) -> int:
        return int(httpx.get(self.url, timeout=GIVE_UP_S).text)

    def write_and_read(self, write: Callable[[int], None], read: Callable[[], int]) -> bool:
        """Write while the replica stands still; whether somebody else was answered by it. He who wrote never is."""
        count = next(self._counts)
        self.pause()
        try:
            write(count)
            is_old = self.stranger_sees() == count - 1
            assert read() == count
        finally:
            self.resume()
        until(lambda: self.stranger_sees() == count, "the replica to come after")
        return is_old


@pytest.fixture(scope="module")
def shelf(postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    replica = postgres.replica()
    replica.start()
    url = postgres.create_database()
    name = url.partition("?")[0].rpartition("/")[2]
    settings = {"database.url": url, "database.replicas": replica.url(name)}
    with serving("shelf", tmp_path_factory.mktemp("shelf"), settings=settings) as served:
        yield Shelf(served, replica)
    replica.stop()
    postgres.drop_database(url)


def _until_another_was_answered_by_the_replica(act: Callable[[], bool]) -> None:
    assert any(act() for _ in range(TRIES_MAX)), "the replica never answered anybody: nothing was tried"


def test_over_http_by_the_header(shelf: Shelf) -> None:
    marks: list[str] = []

    def write(count: int) -> None:
        reply = httpx.post(shelf.url, json={"count": count}, timeout=GIVE_UP_S)
        marks.append(reply.headers["toque-mark"])

    def read() -> int:
        return int(httpx.get(shelf.url, headers={"toque-mark": marks[-1]}, timeout=GIVE_UP_S).text)

    _until_another_was_answered_by_the_replica(lambda: shelf.write_and_read(write, read))


def test_over_http_by_the_cookie_that_a_browser_keeps(shelf: Shelf) -> None:
    with httpx.Client(timeout=GIVE_UP_S) as browser:
        _until_another_was_answered_by_the_replica(
            lambda: shelf.write_and_read(
                lambda count: browser.post(shelf.url, json={"count": count}).raise_for_status() and None,
                lambda: int(browser.get(shelf.url).text),
            )
        )


def test_over_json_rpc(shelf: Shelf) -> None:
    with httpx.Client(timeout=GIVE_UP_S) as client:

        def call(method: str, **params: int) -> int:
            message = {"jsonrpc": "2.0", "id": 1, "method": f"shelf.{method}", "params": params}
            return int(client.post(f"{shelf.served.url}/rpc", json=message).json()["result"])

        _until_another_was_answered_by_the_replica(
            lambda: shelf.write_and_read(
                lambda count: call("set_count", count=count) and None, lambda: call("get_count")
            )
        )


def test_over_a_websocket(shelf: Shelf) -> None:
    with connect(shelf.served.url.replace("http", "ws") + "/ws") as socket:

        def call(method: str, **params: int) -> int:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": f"shelf.{method}", "params": params}))
            return int(json.loads(socket.recv(GIVE_UP_S))["result"])

        _until_another_was_answered_by_the_replica(
            lambda: shelf.write_and_read(
                lambda count: call("set_count", count=count) and None, lambda: call("get_count")
            )
        )


@pytest.mark.parametrize("mark", ["", "x", "-1", "9" * 30, "99999999999999999999"])
def test_a_mark_that_is_none_or_false_does_no_harm(shelf: Shelf, mark: str) -> None:
    assert httpx.get(shelf.url, headers={"toque-mark": mark}, timeout=GIVE_UP_S).status_code == 200
