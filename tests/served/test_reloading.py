"""`toque dev`: every change is served at the same port, whatever streams and sockets are open."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import GIVE_UP_S, Served, children_of, is_running, serving, until
from websockets.sync.client import connect
from wire import Wire, get

pytestmark = pytest.mark.xdist_group("reloading")


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Served]:
    with serving("changing", tmp_path, command="dev") as served:
        yield served


def _change(served: Served, old: str, new: str) -> None:
    file = served.folder / "app" / "app.py"
    file.write_text(file.read_text().replace(old, new))


def _version(served: Served) -> str:
    """What is served now; a reload lets nobody be refused, but may cut off who was being answered."""
    try:
        return str(httpx.get(f"{served.url}/version", timeout=GIVE_UP_S).json()["text"])
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return ""


def _wait_for(served: Served, version: str) -> None:
    until(lambda: _version(served) == version, f"version {version}")


def test_a_change_is_served_at_the_same_port_with_streams_and_sockets_open(dev: Served) -> None:
    assert _version(dev) == "one"
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "changing.slow"})

    with Wire(dev.port) as stream, Wire(dev.port) as slow, connect(f"ws://127.0.0.1:{dev.port}/ws") as socket:
        stream.send(get("/endless"))
        stream.reply_head()
        slow.send(get("/slow"))
        socket.send(call)
        for old, new in (("one", "two"), ("two", "three")):
            _change(dev, f'"{old}"', f'"{new}"')
            _wait_for(dev, new)

        assert b"still here" in stream.rest()
        assert slow.is_closed()


def test_a_mistake_is_shown_and_the_next_change_is_served(dev: Served) -> None:
    _change(dev, '"one"', '"two')
    until(lambda: "SyntaxError" in dev.log(), "the mistake to be shown")
    assert dev.process.poll() is None

    _change(dev, '"two', '"three"')
    _wait_for(dev, "three")


def test_a_set_up_that_cannot_start_is_explained_and_the_next_change_is_served(dev: Served) -> None:
    _change(dev, '"/version", allow=public', '"/version"')
    until(lambda: "allow" in dev.log(), "the remedy to be shown")
    assert "Traceback" not in dev.log()

    _change(dev, '"/version"', '"/version", allow=public')
    _change(dev, '"one"', '"two"')
    _wait_for(dev, "two")


def test_a_browser_that_reloads_too_early_waits_and_is_not_refused(dev: Served) -> None:
    _change(dev, '"one"', '"two"')
    seen = {_version(dev) for _ in range(200)}
    _wait_for(dev, "two")

    assert seen <= {"one", "two", ""}


def test_many_changes_at_once_are_served_in_the_end(dev: Served) -> None:
    for number in range(10):
        _change(dev, '"one"' if number == 0 else f'"v{number - 1}"', f'"v{number}"')
    _wait_for(dev, "v9")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_and_leaves_nothing_behind(dev: Served, number: int) -> None:
    below = [pid for child in children_of(dev.pid) for pid in [child, *children_of(child)]]
    with Wire(dev.port) as stream:
        stream.send(get("/endless"))
        stream.reply_head()
        dev.signal(number)

        assert dev.wait() == 0
    assert len(below) == 2
    assert not any(is_running(pid) for pid in below)


def test_what_it_started_does_not_outlive_it(dev: Served) -> None:
    below = [pid for child in children_of(dev.pid) for pid in [child, *children_of(child)]]
    dev.signal(signal.SIGKILL)
    dev.wait()

    until(lambda: not any(is_running(pid) for pid in below), "everything below it to end")
