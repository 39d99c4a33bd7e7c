"""Clients that are slow or silent: they wait for themselves, and nobody waits for them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx
import pytest
from running import GIVE_UP_S, Served, until
from wire import Wire, ask, get, post

pytestmark = pytest.mark.xdist_group("served")

SLOW_S = 8
SLOW_CLIENTS = 500
SILENT_CLIENTS = 500
MIB = 2**20


async def _drip(port: int, head: bytes, rest: bytes) -> None:
    """Send *head* at once and *rest* a byte a second."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    for at in range(SLOW_S):
        writer.write(rest[at : at + 1])
        await asyncio.sleep(1)
    writer.close()


async def _normal(port: int, answers: Counter[int]) -> None:
    """One client of good manners, who asks ten times a second."""
    give_up = time.monotonic() + SLOW_S
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=GIVE_UP_S) as client:
        while time.monotonic() < give_up:
            answers[(await client.get("/hello")).status_code] += 1
            answers[(await client.post("/tickets", json={"table": 1})).status_code] += 1
            await asyncio.sleep(0.1)


async def test_a_thousand_slow_clients_keep_nobody_out(kitchen: Served) -> None:
    body = post("/tickets", b'{"table":1}' + b" " * 100)
    cut = body.index(b"\r\n\r\n") + 4
    before, answers = kitchen.rss_bytes(), Counter[int]()
    silent = [await asyncio.open_connection("127.0.0.1", kitchen.port) for _ in range(SILENT_CLIENTS)]
    drips = [_drip(kitchen.port, b"", get("/hello", "X-Token: a")) for _ in range(SLOW_CLIENTS // 2)]
    drips += [_drip(kitchen.port, body[:cut], body[cut:]) for _ in range(SLOW_CLIENTS // 2)]

    await asyncio.gather(*drips, *[_normal(kitchen.port, answers) for _ in range(5)])

    assert set(answers) == {200}
    # Undisturbed, it would be some 700; a client who has to wait for a slow one would get none.
    assert answers[200] >= 200
    assert kitchen.rss_bytes() - before < 100 * MIB
    for _, writer in silent:
        writer.close()


async def test_slow_bodies_do_not_take_the_place_of_calls(strict_kitchen: Served) -> None:
    """Twenty calls may work at once there; three times as many clients send a body and do not end it."""
    body = post("/tickets", b'{"table":1}' + b" " * 100)[:-50]
    slow = [Wire(strict_kitchen.port).send(body) for _ in range(60)]

    answers = [ask(strict_kitchen.port, get("/hello")) for _ in range(20)]
    timed_out = [wire.reply() for wire in slow]
    for wire in slow:
        wire.close()

    assert [answer.status for answer in answers if answer] == [200] * 20
    assert {(reply.status, reply.code) for reply in timed_out if reply} == {(408, "request_timeout")}


@pytest.mark.parametrize("path", ["/tickets", "/upload", "/rpc"])
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_arrive_in_time_is_not_waited_for(strict_kitchen: Served, path: str, framing: str) -> None:
    with Wire(strict_kitchen.port) as wire:
        wire.send(get(path, "Content-Type: application/json", framing, method="POST") + b"1\r\n{\r\n")
        reply = wire.reply()

        assert reply is not None
        assert (reply.status, reply.code) == (408, "request_timeout")
        assert reply.header("connection") == "close"
        assert wire.is_closed()


def test_a_body_slower_than_its_call_is_the_clients_failure(strict_kitchen: Served) -> None:
    before = len(strict_kitchen.problems_in_log())
    request = get("/tickets", "Content-Type: application/json", "Content-Length: 9", "X-Timeout-Ms: 100", method="POST")

    reply = ask(strict_kitchen.port, request)

    assert reply is not None
    assert (reply.status, reply.code) == (408, "request_timeout")
    assert len(strict_kitchen.problems_in_log()) == before


def test_a_head_that_does_not_arrive_in_time_ends_the_connection(strict_kitchen: Served) -> None:
    with Wire(strict_kitchen.port) as wire:
        for byte in get("/hello"):
            wire.send(bytes([byte]))
            if byte == ord("H"):
                break

        assert wire.is_closed()


# Size.


@pytest.mark.parametrize("path", ["/tickets", "/upload", "/rpc"])
def test_a_body_of_too_great_a_length_is_refused_unread(strict_kitchen: Served, path: str) -> None:
    head = get(path, "Content-Type: application/json", f"Content-Length: {2**30}", method="POST")

    with Wire(strict_kitchen.port) as wire:
        reply = wire.send(head).reply()

        assert reply is not None
        assert (reply.status, reply.code) == (413, "too_large")
        assert wire.is_closed()


@pytest.mark.parametrize("path", ["/tickets", "/rpc"])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_whoever_sends_a_little_too_much_hears_so(kitchen: Served, path: str, is_chunked: bool) -> None:
    """With httpx, which reads no answer before it has sent everything."""
    large = b" " * (4 * MIB)
    before = kitchen.rss_bytes()

    for _ in range(5):
        reply = httpx.post(
            kitchen.url + path,
            content=iter([large]) if is_chunked else large,
            headers={"content-type": "application/json"},
            timeout=GIVE_UP_S,
        )
        assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
    assert kitchen.rss_bytes() - before < 30 * MIB


@pytest.mark.parametrize("path", ["/tickets", "/rpc"])
def test_a_body_that_grows_without_end_is_cut_off(strict_kitchen: Served, path: str) -> None:
    before = strict_kitchen.rss_bytes()
    head = get(path, "Content-Type: application/json", "Transfer-Encoding: chunked", method="POST")

    with Wire(strict_kitchen.port) as wire:
        wire.send(head)
        for _ in range(40 * 16):
            wire.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        reply = wire.reply()

    # The answer may be lost where we were still sending when the server closed (RFC 9112, 9.6); and on a busy
    # machine, the body's time is up before its size.
    assert reply is None or reply.code in ("too_large", "request_timeout")
    assert strict_kitchen.rss_bytes() - before < 30 * MIB


def test_whoever_asks_before_sending_too_much_is_told_at_once(strict_kitchen: Served) -> None:
    fields = ["Content-Type: application/json", "Content-Length: 20000", "Expect: 100-continue"]

    reply = ask(strict_kitchen.port, get("/tickets", *fields, method="POST"))

    assert reply is not None
    assert (reply.status, reply.code) == (413, "too_large")


def test_an_operation_may_take_more_than_others_and_streams_it(kitchen: Served) -> None:
    before = kitchen.rss_bytes()

    reply = httpx.post(f"{kitchen.url}/upload", content=(b"x" * MIB for _ in range(60)), timeout=GIVE_UP_S)

    assert reply.json() == {"count": 60 * MIB}
    assert kitchen.rss_bytes() - before < 30 * MIB


# Slow readers.


def test_an_answer_waits_for_whoever_reads_it_slowly(kitchen: Served) -> None:
    """500 MB for a client who reads nothing: the function stops yielding, and memory does not grow."""
    before = kitchen.rss_bytes()

    with Wire(kitchen.port) as wire:
        wire.send(get("/stream?chunks=5000&size=100000&tag=unread"))
        kitchen.wait_for_event("unread chunk 0")
        time.sleep(1)
        count = len([event for event in kitchen.events() if event.startswith("unread chunk")])
        grown = kitchen.rss_bytes() - before

    assert count < 500
    assert grown < 50 * MIB
    kitchen.wait_for_event("unread closed")


def test_an_answer_goes_on_when_its_reader_does(kitchen: Served) -> None:
    with Wire(kitchen.port) as wire:
        wire.send(get("/stream?chunks=300&size=100000&tag=paused"))
        time.sleep(0.5)
        reply = wire.reply()

    assert reply is not None
    assert len(reply.body) == 300 * 100_000
    kitchen.wait_for_event("paused done")


def test_items_leave_as_they_are_yielded(kitchen: Served) -> None:
    with httpx.stream("GET", f"{kitchen.url}/lines?count=3&pause_ms=300", timeout=GIVE_UP_S) as reply:
        moments = [time.monotonic() for _ in reply.iter_raw()]

    assert len(moments) >= 3
    assert moments[-1] - moments[0] > 0.5


def test_pipes_and_threads_of_streams_are_given_back(kitchen: Served) -> None:
    def open_files() -> int:
        return kitchen.open_files()

    before = open_files()
    whole = [ask(kitchen.port, get("/stream?chunks=2&size=10")) for _ in range(50)]
    left = [Wire(kitchen.port).send(get("/lines?count=1000&pause_ms=50")) for _ in range(50)]
    for wire in left:
        wire.reply_head()
        wire.close()

    assert [reply.body for reply in whole if reply] == [b"x" * 20] * 50
    until(lambda: open_files() <= before + 2, "files to be closed")
