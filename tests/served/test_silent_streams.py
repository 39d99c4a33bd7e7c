"""A streamed answer that is silent: nothing is written, so nothing but its connection tells that its client has gone;
and while it waits, the web server waits for it with Python's lock in its hand."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Served, serving, until
from wire import Wire, get

pytestmark = pytest.mark.xdist_group("stopping")

STOPPING_S = 10
"""A stop without anybody to wait for, and as long again: five seconds for clients to leave."""


@pytest.fixture
def dripping(tmp_path: Path) -> Iterator[Served]:
    with serving("dripping", tmp_path) as served:
        yield served


def _said(served: Served, words: str) -> int:
    return served.log().count(words)


def _read_one(wire: Wire) -> None:
    assert wire.send(get("/drops")).reply_head() == 200
    assert wire.chunk() == b"drop\n"


def test_who_leaves_a_silent_answer_ends_its_call(dripping: Served) -> None:
    with Wire(dripping.port) as stays:
        _read_one(stays)
        with Wire(dripping.port) as leaves:
            _read_one(leaves)

        until(lambda: _said(dripping, "a glass is put away") == 1, "the end of the call whose client left")
        time.sleep(2.5)  # two more looks
        assert _said(dripping, "a glass is put away") == 1, "one of those who stay was cut off"


def test_a_silent_answer_ends_with_its_connection_of_http_2(dripping: Served) -> None:
    words = ["curl", "-sN", "--http2-prior-knowledge", f"{dripping.url}/drops"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"drop\n"
        client.kill()

    until(lambda: _said(dripping, "a glass is put away") == 1, "the end of the call")


@pytest.mark.parametrize("leaves_after_s", [0.0, 1.0, 6.0])
def test_who_leaves_a_silent_answer_holds_no_stop_up(dripping: Served, leaves_after_s: float) -> None:
    with Wire(dripping.port) as wire:
        _read_one(wire)
        began = time.monotonic()
        dripping.signal(signal.SIGTERM)
        time.sleep(leaves_after_s)
    code = dripping.wait()

    assert code == 0
    assert time.monotonic() - began < STOPPING_S + leaves_after_s
    assert (_said(dripping, "a glass is put away"), _said(dripping, "the tap is closed")) == (1, 1)


def test_a_silent_answer_is_cut_off_after_the_drain_time(tmp_path: Path) -> None:
    settings = {"http.drain_s": 2}
    with serving("dripping", tmp_path, settings=settings) as served, Wire(served.port) as wire:
        _read_one(wire)
        served.signal(signal.SIGTERM)

        assert served.wait() == 0
        assert (_said(served, "a glass is put away"), _said(served, "the tap is closed")) == (1, 1)
