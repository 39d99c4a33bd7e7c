"""Calls end at their deadline, and when nobody waits for them any more; and no more begin than there is room for.

What happened inside is told by the app's own notes, in their order; no test measures how long anything took.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from running import GIVE_UP_S, Served
from websockets.sync.client import connect
from wire import Reply, Wire, ask, get, post

pytestmark = pytest.mark.xdist_group("served")


def _ask(port: int, request: bytes) -> Reply:
    reply = ask(port, request)
    assert reply is not None
    return reply


# Deadlines.


@pytest.mark.parametrize("path", ["/wait?ms=9000&tag=", "/endless?tag="])
def test_a_call_is_stopped_at_the_deadline_that_its_caller_asked_for(kitchen: Served, path: str) -> None:
    tag = f"late {path[1:5]}"

    reply = _ask(kitchen.port, get(path + tag.replace(" ", "+"), "X-Timeout-Ms: 200"))

    assert (reply.status, reply.code) == (504, "deadline_exceeded")
    assert kitchen.wait_for_event(f"{tag} cancelled").count(f"{tag} done") == 0


def test_a_caller_may_shorten_the_deadline_and_not_lengthen_it(kitchen: Served) -> None:
    own = _ask(kitchen.port, get("/deadline")).json()["count"]
    shorter = _ask(kitchen.port, get("/deadline", "X-Timeout-Ms: 500")).json()["count"]
    longer = _ask(kitchen.port, get("/deadline", "X-Timeout-Ms: 600000")).json()["count"]

    assert 5_000 < own <= 10_000
    assert shorter <= 500
    assert longer <= 10_000


def test_a_statement_is_interrupted_and_its_connection_serves_the_next_call(kitchen: Served) -> None:
    """More of them than the pool has connections: none may be lost."""
    with ThreadPoolExecutor(25) as threads:
        request = get("/endless?tag=many", "X-Timeout-Ms: 300")
        late = list(threads.map(lambda _: _ask(kitchen.port, request), range(25)))
    answers = [_ask(kitchen.port, get("/one")) for _ in range(25)]

    # Who waits when the others are stopped has as little time left, and is refused as soon as that is seen.
    found = Counter(reply.status for reply in late)
    assert found[504] >= 10
    assert found[504] + found[503] == 25
    assert Counter(reply.status for reply in answers) == {200: 25}


@pytest.mark.parametrize("path", ["/rpc", "/wait"])
def test_a_deadline_holds_over_every_transport(kitchen: Served, path: str) -> None:
    call = b'{"jsonrpc":"2.0","id":1,"method":"kitchen.wait","params":{"ms":9000,"tag":"rpc"}}'
    request = post("/rpc", call, "X-Timeout-Ms: 200") if path == "/rpc" else get("/wait?ms=9000", "X-Timeout-Ms: 200")

    reply = _ask(kitchen.port, request)

    problem = reply.json()["error"]["data"] if path == "/rpc" else reply.json()
    assert problem["code"] == "deadline_exceeded"


def test_a_stream_is_stopped_at_its_deadline(kitchen: Served) -> None:
    reply = _ask(kitchen.port, get("/stream?chunks=1000&pause_ms=50&tag=endless", "X-Timeout-Ms: 300"))

    assert reply.status == 200
    assert len(reply.body) < 100 * 1000
    assert "endless done" not in kitchen.wait_for_event("endless closed")


# Leaving.


@pytest.mark.parametrize("path", ["/wait?ms=9000&tag=", "/endless?tag="])
def test_a_caller_who_leaves_ends_the_call(kitchen: Served, path: str) -> None:
    tag = f"left{path[1]}"

    with Wire(kitchen.port) as wire:
        wire.send(get(path + tag))
        kitchen.wait_for_event(f"{tag} began")

    assert f"{tag} done" not in kitchen.wait_for_event(f"{tag} cancelled")


def test_a_caller_who_leaves_at_once_ends_the_call_too(kitchen: Served) -> None:
    for number in range(20):
        with Wire(kitchen.port) as wire:
            wire.send(get(f"/wait?ms=9000&tag=quick{number}"))

    events = kitchen.events()
    began = [number for number in range(20) if f"quick{number} began" in events]
    for number in began:
        kitchen.wait_for_event(f"quick{number} cancelled")


def test_a_caller_who_leaves_later_on_the_same_connection_ends_the_call(kitchen: Served) -> None:
    with Wire(kitchen.port) as wire:
        for tag in ("first", "second"):
            assert wire.send(get(f"/wait?ms=150&tag={tag}")).reply() is not None
        wire.send(get("/wait?ms=9000&tag=third"))
        kitchen.wait_for_event("third began")

    assert "third done" not in kitchen.wait_for_event("third cancelled")


def test_a_caller_who_leaves_while_it_reads_ends_the_stream(kitchen: Served) -> None:
    problems = len(kitchen.problems_in_log())

    with Wire(kitchen.port) as wire:
        wire.send(get("/stream?chunks=1000&pause_ms=20&tag=read"))
        kitchen.wait_for_event("read chunk 3")

    assert "read done" not in kitchen.wait_for_event("read closed")
    assert len(kitchen.problems_in_log()) == problems


def test_one_stream_of_http2_that_is_reset_ends_alone(kitchen: Served) -> None:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for stream, tag in ((1, "reset"), (3, "kept")):
        path = f"/wait?ms=1000&tag={tag}"
        fields = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        client.send_headers(stream, fields, end_stream=True)

    with Wire(kitchen.port) as wire:
        wire.send(client.data_to_send())
        kitchen.wait_for_event("kept began")
        client.reset_stream(1, error_code=8)
        wire.send(client.data_to_send())
        events = kitchen.wait_for_event("kept done")

    assert "reset cancelled" in events
    assert "reset done" not in events


def test_every_call_of_a_socket_that_closes_ends(kitchen: Served) -> None:
    with connect(f"ws://127.0.0.1:{kitchen.port}/ws") as socket:
        for tag in ("ws1", "ws2", "ws3"):
            socket.send(f'{{"jsonrpc":"2.0","id":1,"method":"kitchen.wait","params":{{"ms":9000,"tag":"{tag}"}}}}')
        kitchen.wait_for_event("ws3 began")

    for tag in ("ws1", "ws2", "ws3"):
        assert f"{tag} done" not in kitchen.wait_for_event(f"{tag} cancelled")


# Capacity.


def test_more_blocking_calls_than_there_are_threads_are_refused_with_advice(strict_kitchen: Served) -> None:
    """Two threads, and two calls may wait for one."""
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: _ask(strict_kitchen.port, get("/block?ms=600")), range(8)))
    again = _ask(strict_kitchen.port, get("/block?ms=1"))

    refused = [reply for reply in replies if reply.status != 200]
    assert len(refused) == 4
    assert {(reply.status, reply.code, reply.header("retry-after")) for reply in refused} == {(503, "overloaded", "1")}
    assert again.status == 200


def test_a_thread_whose_caller_was_answered_counts_until_it_ends(strict_kitchen: Served) -> None:
    with ThreadPoolExecutor(4) as threads:
        request = get("/block?ms=1000", "X-Timeout-Ms: 100")
        late = list(threads.map(lambda _: _ask(strict_kitchen.port, request), range(2)))
        after = list(threads.map(lambda _: _ask(strict_kitchen.port, get("/block?ms=1")), range(4)))

    assert [reply.code for reply in late] == ["deadline_exceeded"] * 2
    assert Counter(reply.status for reply in after) == {200: 2, 503: 2}


def test_more_calls_than_may_be_under_way_are_refused_and_readiness_says_so(strict_kitchen: Served) -> None:
    waiting = [Wire(strict_kitchen.port).send(get("/wait?ms=9000&tag=full")) for _ in range(20)]
    full = httpx.Client(base_url=strict_kitchen.url)
    give_up = time.monotonic() + GIVE_UP_S
    while full.get("/readyz").status_code == 200:
        assert time.monotonic() < give_up
    refused = _ask(strict_kitchen.port, get("/hello"))
    alive = full.get("/healthz")
    for wire in waiting:
        wire.close()
    while full.get("/readyz").status_code != 200:
        assert time.monotonic() < give_up
    full.close()

    assert (refused.status, refused.code, refused.header("retry-after")) == (503, "overloaded", "1")
    assert alive.status_code == 200
    assert _ask(strict_kitchen.port, get("/hello")).status == 200


# Failures.


def test_a_failure_of_the_app_is_told_without_its_secrets(kitchen: Served) -> None:
    reply = _ask(kitchen.port, get("/failing"))

    assert (reply.status, reply.code) == (500, "internal")
    assert b"fire" not in reply.body
    assert "the kitchen is on fire" in kitchen.log()
    assert reply.json()["trace_id"] in kitchen.log()


@pytest.mark.parametrize(
    "body", [b'{"number":9223372036854775808}', b'{"number":-99999999999999999999}', b'{"word":"a\\u0000b"}']
)
def test_what_a_database_cannot_hold_is_no_failure_of_the_app(kitchen: Served, body: bytes) -> None:
    reply = _ask(kitchen.port, post("/stored", body))

    assert reply.status in (200, 422)
