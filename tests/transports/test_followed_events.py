"""A query followed over HTTP, on granian and on uvicorn, by a client that reads what HTML says of events."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from servers import granian_serving, until, uvicorn_serving

from live_shop import ANA, BANNED, app
from toque.security.development import mint
from toque.settings import Auth, Live, Settings
from toque.testing import Harness, running
from toque.transports.asgi import AsgiApplication

LIVE = {"accept": "text/event-stream"}


class Event(NamedTuple):
    """One event, as a browser reads it."""

    type: str
    id: str
    data: Any


class Following:
    """One client of one stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.retry_ms = 0
        self.comments = 0
        self._lines = self._read()

    async def next(self) -> Event:
        """The next event. Raises: EOFError at the end."""
        found = {"event": "message", "id": "", "data": ""}
        async with asyncio.timeout(30):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line == "" and found["data"]:
                    return Event(found["event"], found["id"], json.loads(found["data"]))
                if line.startswith(":"):
                    self.comments += 1
                elif name == "retry":
                    self.retry_ms = int(value)
                elif name:
                    found[name] = value
        raise EOFError

    async def _read(self) -> AsyncIterator[str]:
        # Lines end as HTML, 9.2.5 says, and not with each of Unicode's line ends.
        rest = b""
        async for chunk in self.answer.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()


@pytest.fixture
async def shop() -> AsyncIterator[Harness]:
    BANNED.clear()
    async with running(app) as harness:
        yield harness


@pytest.fixture(params=["granian", "uvicorn"])
async def url(request: pytest.FixtureRequest, shop: Harness) -> AsyncIterator[str]:
    edge = shop.serving.edge
    if request.param == "granian":
        async with granian_serving(edge) as address:
            yield f"http://{address}"
    else:

        async def nothing() -> None: ...

        async with uvicorn_serving(AsgiApplication(edge, nothing, nothing)) as address:
            yield f"http://{address}"
    # Whoever has gone follows nothing.
    live = shop.serving.system.live
    assert live is not None
    await until(lambda: live.subscriptions == 0)


@asynccontextmanager
async def following(url: str, **headers: str) -> AsyncIterator[Following]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient() as client, client.stream("GET", url, headers={**LIVE, **given}) as answer:
        yield Following(answer)


def bearer(shop: Harness) -> str:
    return f"Bearer {shop.token(ANA)}"


async def test_a_query_is_followed_at_its_own_url(shop: Harness, url: str) -> None:
    async with following(f"{url}/shelves/1") as events:
        first = await events.next()
        assert (events.answer.status_code, events.answer.headers["content-type"]) == (200, "text/event-stream")
        assert (first.type, first.data) == ("message", [])
        assert events.retry_ms >= 1000

        jar = await shop.call("shop.fill", shelf=1, content="plums")

        assert (await events.next()).data == [{"id": jar.id, "content": "plums"}]


async def test_a_client_that_comes_back_is_not_sent_what_it_has(shop: Harness, url: str) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with following(f"{url}/shelves/1") as events:
        seen = (await events.next()).id

    async with following(f"{url}/shelves/1", last_event_id=seen) as events:
        await until(lambda: shop.serving.system.live.subscriptions == 1)  # type: ignore[union-attr]
        await shop.call("shop.refill", id=jar.id, content="figs")
        assert (await events.next()).data == [{"id": jar.id, "content": "figs"}]

    async with following(f"{url}/shelves/1", if_none_match=seen) as events:
        assert (await events.next()).data == [{"id": jar.id, "content": "figs"}]


async def test_what_the_events_tell_is_what_a_get_answers(shop: Harness, url: str) -> None:
    await shop.call("shop.fill", shelf=1, content='plums\nand "figs" \u2028')
    async with following(f"{url}/shelves/1") as events:
        assert (await events.next()).data == httpx.Response(200, content=(await shop.get("/shelves/1")).content).json()


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/clock", 406, "it asks for no Database"),
        ("/whole", 406, "cached=False"),
        ("/jars/7", 404, ""),
        ("/shelves/no", 422, ""),
        ("/kept/1", 401, ""),
    ],
)
async def test_what_cannot_be_followed_is_refused(url: str, path: str, status: int, words: str) -> None:
    async with following(url + path) as events:
        body = await events.answer.aread()

    assert events.answer.status_code == status
    assert words in json.loads(body).get("detail", "")


@pytest.mark.parametrize(
    ("path", "status"), [("/shelves/1", 200), ("/jars/7", 404), ("/shelves/no", 422), ("/kept/1", 401)]
)
async def test_head_is_answered_as_get_is_and_follows_nothing(shop: Harness, url: str, path: str, status: int) -> None:
    """It was 200 wherever GET would have been refused."""
    async with httpx.AsyncClient() as client:
        answer = await client.head(url + path, headers=LIVE)

    assert (answer.status_code, answer.content) == (status, b"")
    assert (answer.headers["content-type"] == "text/event-stream") == (status == 200)
    await until(lambda: shop.serving.system.live.subscriptions == 0)  # type: ignore[union-attr]


async def test_the_document_says_what_can_be_followed(shop: Harness) -> None:
    paths = (await shop.get("/openapi.json")).json()["paths"]

    def described(path: str) -> tuple[bool, bool]:
        get = paths[path]["get"]
        names = [parameter["name"] for parameter in get["parameters"]]
        return "text/event-stream" in get["responses"]["200"]["content"], "Last-Event-ID" in names

    assert described("/shelves/{shelf}") == described("/kept/{shelf}") == (True, True)
    assert described("/clock") == described("/whole") == (False, False)


async def test_a_browser_that_takes_anything_gets_one_answer(shop: Harness, url: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/shelves/1", headers={"accept": "*/*"})
        head = await client.head(f"{url}/shelves/1", headers=LIVE)

    assert answer.headers["content-type"] == "application/json"
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


async def test_who_is_kept_out_is_told_within_a_second_though_nothing_changed(shop: Harness, url: str) -> None:
    async with following(f"{url}/kept/1", authorization=bearer(shop)) as events:
        assert (await events.next()).data == []

        BANNED.add("ana")
        last = await events.next()

        assert (last.type, last.data["code"]) == ("end", "forbidden")
        with pytest.raises(EOFError):
            await events.next()


async def test_what_is_gone_ends_with_its_error(shop: Harness, url: str) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with following(f"{url}/jars/{jar.id}") as events:
        assert (await events.next()).data["content"] == "plums"

        await shop.call("shop.take", id=jar.id)

        last = await events.next()
        assert (last.type, last.data["code"]) == ("end", "not_found")


async def test_when_the_server_stops_clients_are_told_when_to_come_back(shop: Harness, url: str) -> None:
    async with following(f"{url}/shelves/1") as events:
        await events.next()
        before = events.retry_ms

        shop.serving.begin_stopping()

        last = await events.next()
        assert (last.type, last.data["code"]) == ("end", "unavailable")
        assert events.retry_ms != before


async def test_who_cannot_be_let_in_now_is_told_when_to_come_back() -> None:
    """To a browser 503 said that it is to give up: of thousands that came back after a restart, those that were refused
    stayed away."""
    settings = Settings(live=Live(subscriptions_max=0))
    async with (
        running(app, settings=settings) as shop,
        granian_serving(shop.serving.edge) as address,
        following(f"http://{address}/shelves/1") as events,
    ):
        last = await events.next()

        assert (events.answer.status_code, events.answer.headers["content-type"]) == (200, "text/event-stream")
        assert (last.type, last.data["code"]) == ("end", "overloaded")
        assert events.retry_ms >= 1000


async def test_a_silent_stream_says_that_it_is_there(shop: Harness, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toque.transports.events.HEARTBEAT_S", 0.05)
    async with following(f"{url}/shelves/1") as events:
        await events.next()
        waiting = asyncio.ensure_future(events.next())

        await until(lambda: events.comments >= 3)

        await shop.call("shop.fill", shelf=1, content="plums")
        assert (await waiting).data[0]["content"] == "plums"


CHANGES = 200
STATE_BYTES = 200_000


async def test_a_client_that_reads_nothing_skips_states_and_holds_no_memory(shop: Harness, url: str) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="first")
    async with reading_late(url, "/shelves/1") as (reader, _):
        await reader.readuntil(b"first")

        for number in range(CHANGES):
            await shop.call("shop.refill", id=jar.id, content=f"{number} " + "x" * STATE_BYTES)
        await shop.call("shop.refill", id=jar.id, content="last")
        received = b""
        async with asyncio.timeout(30):
            while b"last" not in received:
                received += await reader.read(2**20)

    assert received.count(b"id:") < CHANGES / 2, "what it did not take was skipped"


async def test_a_client_that_takes_nothing_for_long_is_left_behind() -> None:
    settings = Settings(live=Live(lag_s=0.2))
    async with running(app, settings=settings) as shop, granian_serving(shop.serving.edge) as address:
        live = shop.serving.system.live
        assert live is not None
        jar = await shop.call("shop.fill", shelf=1, content="first")
        async with reading_late(f"http://{address}", "/shelves/1") as (reader, _):
            await reader.readuntil(b"first")

            for number in range(CHANGES):
                if live.subscriptions == 0:
                    break
                await shop.call("shop.refill", id=jar.id, content=f"{number} " + "x" * STATE_BYTES)

            await until(lambda: live.subscriptions == 0)


@asynccontextmanager
async def reading_late(url: str, path: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that takes little from the network before it is read."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        raw.setblocking(False)
        host, _, port = url.removeprefix("http://").partition(":")
        await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**16)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n".encode())
        yield reader, writer
        writer.close()


async def test_a_token_that_expires_ends_what_it_began() -> None:
    settings = Settings(auth=Auth(leeway_s=0.0))
    async with running(app, settings=settings) as shop, granian_serving(shop.serving.edge) as address:
        token = mint(shop.serving.settings, subject="ana", roles=["keeper"], lifetime_s=3)
        async with following(f"http://{address}/kept/1", authorization=f"Bearer {token}") as events:
            assert (await events.next()).data == []

            last = await events.next()

            assert (last.type, last.data["code"]) == ("end", "unauthenticated")
            assert "expired" in last.data["detail"]
