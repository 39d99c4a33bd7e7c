"""JSON-RPC over a WebSocket, with a client that nobody here wrote, on granian and on uvicorn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest
from servers import granian_serving, until, uvicorn_serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from toque.app import App
from toque.codecs.json import JSON
from toque.codecs.msgpack import MSGPACK
from toque.contract.access import authenticated, public
from toque.contract.principal import Principal
from toque.security.development import mint
from toque.settings import Settings
from toque.transports.asgi import AsgiApplication
from toque.transports.bodies import BodyLimits
from toque.transports.jsonrpc import JsonRpc
from toque.transports.router import Router
from toque.transports.rsgi import Edge, HostRule
from toque.transports.websocket import IN_FLIGHT_MAX, WebSockets

MESSAGE_BYTES_MAX = 10_000
SETTINGS = Settings()
TOKEN = mint(SETTINGS, subject="ana", lifetime_s=3600)


class Kitchen:
    """What the operations below did."""

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = 0
        self.bell = asyncio.Event()


@pytest.fixture
async def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def sockets(kitchen: Kitchen) -> WebSockets:
    app = App("demo", settings=SETTINGS)

    @app.query(allow=public)
    async def add(left: int, right: int) -> int:
        return left + right

    @app.command(allow=public)
    async def wait() -> str:
        kitchen.begun += 1
        try:
            await kitchen.bell.wait()
        except asyncio.CancelledError:
            kitchen.stopped += 1
            raise
        return "rung"

    @app.query(allow=authenticated)
    async def who(principal: Principal) -> str:
        return principal.subject

    plans = app.serving.system.plans
    limits = BodyLimits(MESSAGE_BYTES_MAX, 10)
    return WebSockets(JsonRpc(plans, JSON), JsonRpc(plans, MSGPACK), limits, ["https://friend.example"])


@asynccontextmanager
async def on_granian(edge: Edge) -> AsyncIterator[str]:
    async with granian_serving(edge) as address:
        yield address


@asynccontextmanager
async def on_uvicorn(edge: Edge) -> AsyncIterator[str]:
    async def nothing() -> None: ...

    async with uvicorn_serving(AsgiApplication(edge, nothing, nothing)) as address:
        yield address


Serve = Callable[[Edge], AbstractAsyncContextManager[str]]


@pytest.fixture(params=[on_granian, on_uvicorn])
def serve(request: pytest.FixtureRequest) -> Serve:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def url(sockets: WebSockets, serve: Serve) -> AsyncIterator[str]:
    async with serve(Edge(Router(), HostRule([]), None, sockets)) as address:
        yield f"ws://{address}/ws"


def call(method: str, params: Any = None, call_id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params or {}, "id": call_id}


async def tell(socket: ClientConnection, message: Any) -> None:
    await socket.send(json.dumps(message))


async def ask(socket: ClientConnection, message: Any) -> Any:
    await tell(socket, message)
    return json.loads(await socket.recv())


async def test_text_carries_json_and_is_answered_as_text(url: str) -> None:
    async with connect(url) as socket:
        assert await ask(socket, call("demo.add", [1, 2])) == {"jsonrpc": "2.0", "id": 1, "result": 3}


async def test_binary_carries_messagepack_and_is_answered_in_binary(url: str) -> None:
    async with connect(url) as socket:
        await socket.send(msgspec.msgpack.encode(call("demo.add", [1, 2])))
        answer = await socket.recv()

    assert isinstance(answer, bytes)
    assert msgspec.msgpack.decode(answer)["result"] == 3


async def test_a_batch_and_a_broken_message_are_answered(url: str) -> None:
    async with connect(url) as socket:
        batch = await ask(socket, [call("demo.add", [1, 1]), call("demo.add", [2, 2])])
        await socket.send("{")
        broken = json.loads(await socket.recv())

    assert [answer["result"] for answer in batch] == [2, 4]
    assert broken["error"]["code"] == -32700


async def test_calls_are_answered_as_they_finish(url: str, kitchen: Kitchen) -> None:
    async with connect(url) as socket:
        await tell(socket, call("demo.wait", call_id="slow"))
        await tell(socket, call("demo.add", [1, 2], call_id="fast"))
        first = json.loads(await socket.recv())
        kitchen.bell.set()
        second = json.loads(await socket.recv())

    assert [first["id"], second["id"]] == ["fast", "slow"]


async def test_a_notification_is_not_answered(url: str) -> None:
    async with connect(url) as socket:
        await tell(socket, {"jsonrpc": "2.0", "method": "demo.add", "params": [1, 2]})

        assert (await ask(socket, call("demo.add", [3, 4])))["result"] == 7


async def test_beyond_so_many_calls_in_flight_no_message_is_read(url: str, kitchen: Kitchen) -> None:
    async with connect(url) as socket:
        for number in range(IN_FLIGHT_MAX + 10):
            await tell(socket, call("demo.wait", call_id=number))
        await until(lambda: kitchen.begun == IN_FLIGHT_MAX)
        # Whatever was to be read has been: another socket is served from its handshake on in the meantime.
        async with connect(url) as other:
            await ask(other, call("demo.add", [1, 2]))
        begun = kitchen.begun
        kitchen.bell.set()
        answers = [json.loads(await socket.recv()) for _ in range(IN_FLIGHT_MAX + 10)]

    assert begun == IN_FLIGHT_MAX
    assert sorted(answer["id"] for answer in answers) == list(range(IN_FLIGHT_MAX + 10))


async def test_a_client_that_leaves_stops_its_calls(url: str, kitchen: Kitchen) -> None:
    async with connect(url) as socket:
        await tell(socket, call("demo.wait"))
        await tell(socket, [call("demo.wait"), call("demo.wait")])
        await until(lambda: kitchen.begun == 3)

    await until(lambda: kitchen.stopped == 3)


async def test_a_connection_that_breaks_stops_its_calls(url: str, kitchen: Kitchen) -> None:
    async with connect(url) as socket:
        await tell(socket, call("demo.wait"))
        await until(lambda: kitchen.begun == 1)
        socket.transport.abort()

    await until(lambda: kitchen.stopped == 1)


@pytest.mark.parametrize("payload", ["x" * (MESSAGE_BYTES_MAX + 1), b"x" * (MESSAGE_BYTES_MAX + 1)])
async def test_a_message_beyond_the_limit_ends_the_socket_and_says_why(
    url: str, serve: Serve, payload: str | bytes
) -> None:
    decode = json.loads if isinstance(payload, str) else msgspec.msgpack.decode
    async with connect(url) as socket:
        await socket.send(payload)
        answer = decode(await socket.recv())
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    assert answer["error"]["data"]["code"] == "too_large"
    # granian closes without a code.
    assert socket.close_code == (1009 if serve is on_uvicorn else 1005)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_another_origin_may_not_connect(url: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, origin=origin)  # type: ignore[arg-type]

    assert refused.value.response.status_code == 403


async def test_our_own_pages_and_those_of_listed_origins_may_connect(url: str) -> None:
    own = "http://" + url.split("/")[2]
    for origin in (own, "https://friend.example"):
        async with connect(url, origin=origin) as socket:  # type: ignore[arg-type]
            assert (await ask(socket, call("demo.add", [1, 2])))["result"] == 3


async def test_elsewhere_no_websocket_answers(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url + "/nowhere")

    assert refused.value.response.status_code == 404


async def test_the_handshakes_credential_counts_for_every_call(url: str) -> None:
    async with connect(url, additional_headers={"authorization": f"Bearer {TOKEN}"}) as socket:
        assert (await ask(socket, call("demo.who")))["result"] == "ana"
        assert (await ask(socket, call("demo.who")))["result"] == "ana"


async def test_without_a_credential_a_guarded_call_is_refused(url: str) -> None:
    async with connect(url) as socket:
        assert (await ask(socket, call("demo.who")))["error"]["data"]["code"] == "unauthenticated"


async def test_a_browser_shows_its_token_in_a_call(url: str) -> None:
    async with connect(url) as socket:
        assert (await ask(socket, call("toque.authenticate", {"token": TOKEN})))["result"] is True
        assert (await ask(socket, call("demo.who")))["result"] == "ana"
        await ask(socket, call("toque.authenticate", {"token": "wrong"}))
        assert (await ask(socket, call("demo.who")))["error"]["data"]["code"] == "unauthenticated"


async def test_a_token_counts_for_the_message_sent_right_after_it(url: str) -> None:
    async with connect(url) as socket:
        await tell(socket, call("toque.authenticate", {"token": TOKEN}, call_id="token"))
        await tell(socket, call("demo.who", call_id="who"))
        answers = {answer["id"]: answer for answer in [json.loads(await socket.recv()) for _ in range(2)]}

    assert answers["who"]["result"] == "ana"


@pytest.mark.parametrize("params", [{}, {"token": 7}, {"token": "x", "more": 1}, ["x"]])
async def test_a_token_of_another_shape_is_invalid(url: str, params: Any) -> None:
    async with connect(url) as socket:
        assert (await ask(socket, call("toque.authenticate", params)))["error"]["code"] == -32602


async def test_one_sockets_token_is_not_anothers(url: str) -> None:
    async with connect(url) as one, connect(url) as other:
        await ask(one, call("toque.authenticate", {"token": TOKEN}))

        assert (await ask(other, call("demo.who")))["error"]["data"]["code"] == "unauthenticated"


async def test_stopping_lets_running_calls_end_and_then_closes(
    url: str, serve: Serve, sockets: WebSockets, kitchen: Kitchen
) -> None:
    async with connect(url) as busy, connect(url) as idle:
        await tell(busy, call("demo.wait"))
        await until(lambda: kitchen.begun == 1)
        stopping = asyncio.create_task(sockets.stop(grace_s=30))
        await idle.wait_closed()
        kitchen.bell.set()
        answer = json.loads(await busy.recv())
        await stopping
        await busy.wait_closed()

    assert answer["result"] == "rung"
    assert busy.close_code == idle.close_code == (1001 if serve is on_uvicorn else 1005)


async def test_stopping_ends_calls_that_outlast_their_grace(url: str, sockets: WebSockets, kitchen: Kitchen) -> None:
    async with connect(url) as socket:
        await tell(socket, call("demo.wait"))
        await until(lambda: kitchen.begun == 1)
        await sockets.stop(grace_s=0.01)

    assert kitchen.stopped == 1


async def test_who_connects_while_the_app_stops_is_refused(url: str, sockets: WebSockets) -> None:
    await sockets.stop(grace_s=0)

    with pytest.raises(InvalidStatus) as refused:
        await connect(url)

    assert refused.value.response.status_code == 503
