"""Queries followed over one WebSocket, on granian and on uvicorn, in JSON and in MessagePack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from servers import granian_serving, until, uvicorn_serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from live_shop import ANA, BANNED, app
from toque.cache.live import Live
from toque.settings import Live as Limits
from toque.settings import Settings
from toque.testing import Harness, running
from toque.transports.asgi import AsgiApplication

LIMIT = 5


class Client:
    """One socket, with calls and notifications told apart."""

    def __init__(self, socket: ClientConnection, *, is_binary: bool) -> None:
        self._socket = socket
        self._is_binary = is_binary
        self._numbers = 0
        self.notes: list[dict[str, Any]] = []

    async def call(self, method: str, **params: Any) -> Any:
        """The result, or the error object."""
        self._numbers += 1
        await self.send({"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": params})
        while (message := await self._receive()).get("id") != self._numbers:
            self.notes.append(message)
        return message.get("result", message.get("error"))

    async def send(self, message: Any) -> None:
        await self._socket.send(msgspec.msgpack.encode(message) if self._is_binary else json.dumps(message))

    async def note(self) -> dict[str, Any]:
        """The params of the next notification."""
        message = self.notes.pop(0) if self.notes else await self._receive()
        assert (message["method"], "id" in message) == ("subscription", False)
        return message["params"]  # type: ignore[no-any-return]

    async def _receive(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            data = await self._socket.recv()
        return msgspec.msgpack.decode(data) if isinstance(data, bytes) else json.loads(data)


@pytest.fixture
async def shop() -> AsyncIterator[Harness]:
    BANNED.clear()
    async with running(app, settings=Settings(live=Limits(connection_subscriptions_max=LIMIT))) as harness:
        yield harness


@pytest.fixture
def live(shop: Harness) -> Live:
    assert shop.serving.system.live is not None
    return shop.serving.system.live


@pytest.fixture(params=["granian", "uvicorn"])
async def url(request: pytest.FixtureRequest, shop: Harness, live: Live) -> AsyncIterator[str]:
    if request.param == "granian":
        async with granian_serving(shop.serving.edge) as address:
            yield f"ws://{address}/ws"
    else:

        async def nothing() -> None: ...

        async with uvicorn_serving(AsgiApplication(shop.serving.edge, nothing, nothing)) as address:
            yield f"ws://{address}/ws"
    await until(lambda: live.subscriptions == 0)


@asynccontextmanager
async def connected(url: str, *, is_binary: bool = False, token: str = "") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        yield Client(socket, is_binary=is_binary)


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "msgpack"])
async def test_a_subscription_sends_each_state(shop: Harness, url: str, is_binary: bool) -> None:
    async with connected(url, is_binary=is_binary) as client:
        number = (await client.call("subscribe", operation="shop.shelf", params={"shelf": 1}))["subscription"]
        first = await client.note()
        assert (first["subscription"], first["result"]) == (number, [])

        jar = await shop.call("shop.fill", shelf=1, content="plums")
        second = await client.note()

        assert (second["subscription"], second["result"]) == (number, [{"id": jar.id, "content": "plums"}])
        assert first["etag"] != second["etag"]


async def test_params_come_by_position_too(url: str) -> None:
    async with connected(url) as client:
        await client.call("subscribe", operation="shop.shelf", params=[1])

        assert (await client.note())["result"] == []


async def test_a_client_that_comes_back_is_not_sent_what_it_has(shop: Harness, url: str) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with connected(url) as client:
        await client.call("subscribe", operation="shop.shelf", params={"shelf": 1})
        etag = (await client.note())["etag"]

    async with connected(url) as client:
        await client.call("subscribe", operation="shop.shelf", params={"shelf": 1}, etag=etag)
        await shop.call("shop.refill", id=jar.id, content="figs")

        assert (await client.note())["result"] == [{"id": jar.id, "content": "figs"}]


async def test_nothing_comes_after_unsubscribe(shop: Harness, url: str, live: Live) -> None:
    async with connected(url) as client:
        first = (await client.call("subscribe", operation="shop.shelf", params={"shelf": 1}))["subscription"]
        second = (await client.call("subscribe", operation="shop.shelf", params={"shelf": 1}))["subscription"]
        await client.note()
        await client.note()

        assert await client.call("unsubscribe", subscription=first) is True
        assert await client.call("unsubscribe", subscription=first) is False
        assert live.subscriptions == 1
        await shop.call("shop.fill", shelf=1, content="plums")

        assert (await client.note())["subscription"] == second


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"operation": "shop.none"}, "unknown_operation", "shop.none"),
        ({"operation": "shop.fill", "params": {"shelf": 1, "content": "x"}}, "unimplemented", "this is a command"),
        ({"operation": "shop.whole"}, "unimplemented", "cached=False"),
        ({"operation": "shop.shelf"}, "invalid", ""),
        ({"operation": "shop.jar", "params": {"id": 7}}, "not_found", ""),
        ({"operation": "shop.kept", "params": {"shelf": 1}}, "unauthenticated", ""),
        ({"operation": 7}, "invalid", "subscribe takes"),
        ({"operation": "shop.shelf", "extra": 1}, "invalid", "subscribe takes"),
        ({"operation": "shop.shelf", "params": 7}, "invalid", "subscribe takes"),
    ],
)
async def test_what_cannot_be_followed_is_refused(
    url: str, live: Live, params: dict[str, Any], code: str, words: str
) -> None:
    async with connected(url) as client:
        error = await client.call("subscribe", **params)

        assert error["data"]["code"] == code
        assert words in error["message"]
        assert live.subscriptions == 0


async def test_a_socket_has_a_limit(url: str) -> None:
    async with connected(url) as client:
        answers = [
            await client.call("subscribe", operation="shop.shelf", params={"shelf": n}) for n in range(LIMIT + 1)
        ]

        assert all("subscription" in answer for answer in answers[:LIMIT])
        assert answers[LIMIT]["data"]["code"] == "overloaded"
        await client.call("unsubscribe", subscription=answers[0]["subscription"])
        assert "subscription" in await client.call("subscribe", operation="shop.shelf", params={"shelf": 9})


async def test_who_is_kept_out_is_told_within_a_second(shop: Harness, url: str) -> None:
    async with connected(url, token=shop.token(ANA)) as client:
        await client.call("subscribe", operation="shop.kept", params={"shelf": 1})
        assert (await client.note())["result"] == []

        BANNED.add("ana")
        last = await client.note()

        assert last["error"]["data"]["code"] == "forbidden"
        assert await client.call("unsubscribe", subscription=last["subscription"]) is False


async def test_a_batch_subscribes_too_and_its_answer_comes_first(url: str) -> None:
    async with connected(url) as client:
        calls = [
            {"jsonrpc": "2.0", "id": n, "method": "subscribe", "params": {"operation": "shop.shelf", "params": [n]}}
            for n in range(3)
        ]
        await client._socket.send(json.dumps(calls))

        answers = json.loads(await client._socket.recv())

        assert sorted(answer["id"] for answer in answers) == [0, 1, 2]
        numbers = {(await client.note())["subscription"] for _ in range(3)}
        assert numbers == {answer["result"]["subscription"] for answer in answers}


async def test_a_number_that_was_not_told_yet_ends_nothing(shop: Harness, url: str, live: Live) -> None:
    """Numbers are easily guessed: one that was ended before it had begun was followed for nobody until the app stopped,
    past the limit of its socket."""
    follow = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"operation": "shop.shelf", "params": [1]}}
    end = {"jsonrpc": "2.0", "id": 2, "method": "unsubscribe", "params": {"subscription": 1}}
    async with connected(url) as client:
        await client._socket.send(json.dumps([follow, end]))

        answers = json.loads(await client._socket.recv())

        assert {answer["id"]: answer["result"] for answer in answers} == {1: {"subscription": 1}, 2: False}
        assert (await client.note())["subscription"] == 1
    await until(lambda: live.subscriptions == 0)


async def test_when_the_server_stops_each_subscription_hears_it(shop: Harness, url: str) -> None:
    async with connected(url) as client:
        await client.call("subscribe", operation="shop.shelf", params={"shelf": 1})
        await client.note()

        shop.serving.begin_stopping()

        last = await client.note()
        assert (last["error"]["data"]["code"], last["error"]["data"]["retry_after_s"]) == ("unavailable", 1.0)
        with pytest.raises(ConnectionClosed):
            await client.note()


async def test_who_leaves_follows_nothing_whenever_that_is(shop: Harness, url: str, live: Live) -> None:
    for _ in range(10):
        async with connected(url) as client:
            for shelf in range(LIMIT):
                await client.send(
                    {
                        "jsonrpc": "2.0",
                        "id": 1,
                        "method": "subscribe",
                        "params": {"operation": "shop.shelf", "params": [shelf]},
                    }
                )

    await until(lambda: live.subscriptions == 0)
    assert live.topics == 0
