"""One call of an operation over each transport: what a caller hears, as a code and the bytes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import msgspec

from toque.cache.live import why_not_live
from toque.contract.operation import Kind
from toque.contract.principal import Principal
from toque.contract.signature import Input, Place
from toque.testing.harness import Harness
from toque.testing.memory import MemoryProtocol, MemoryScope
from toque.transports.asgi import AsgiApplication
from toque.transports.jsonrpc import unoffered
from toque.transports.replies import EVENTS
from toque.transports.rsgi import CLOSE, TEXT
from toque.transports.subscriptions import SUBSCRIBE

__all__ = ["WAYS_IN", "Heard"]

Inputs = Mapping[str, Any]


class Heard(NamedTuple):
    """What a caller heard."""

    code: str
    """`ok`, or the code of the error."""
    content: bytes


async def over_http(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """None where the operation has no path."""
    request = _request(harness, name, inputs)
    if request is None:
        return None
    answer = await harness.request(*request[:2], json=request[2], headers={**request[3], **_credential(harness, who)})
    return _heard(answer.status, answer.content)


async def over_asgi(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """None where the operation has no path."""
    request = _request(harness, name, inputs)
    if request is None:
        return None
    method, target, body, headers = request
    content = b"" if body is None else msgspec.json.encode(body)
    sent = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content)), **headers}
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
        "headers": [(key.encode(), value.encode()) for key, value in {**sent, **_credential(harness, who)}.items()],
    }
    said: list[Any] = []
    told = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:
        return told.pop() if told else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        said.append(message)

    application: Any = AsgiApplication(harness.serving.edge, _nothing, _nothing)
    await application(scope, receive, send)
    return _heard(said[0]["status"], b"".join(message.get("body", b"") for message in said[1:]))


async def over_jsonrpc(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """None where no message carries what the operation takes or answers: a file, say."""
    if unoffered(harness.serving.system.plans[name]):
        return None
    answer = await harness.post("/rpc", json=_rpc(name, inputs), headers=_credential(harness, who))
    return _rpc_heard(answer.content)


async def over_websocket(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """None where no message carries what the operation takes or answers."""
    if unoffered(harness.serving.system.plans[name]):
        return None
    async with _connected(harness, who) as socket:
        return await socket.asked(_rpc(name, inputs))


async def over_events(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """The first state that a follower is sent; None where there are none, or the operation has no path."""
    request = _request(harness, name, inputs)
    if request is None or request[0] != "GET" or _is_not_live(harness, name):
        return None
    path, _, query = request[1].partition("?")
    headers = {"host": "localhost", "accept": EVENTS, **request[3], **_credential(harness, who)}
    listening = _Listening()
    await harness.serving.edge(MemoryScope("GET", unquote(path), query, list(headers.items())), listening)
    return _heard(listening.answer.status, listening.answer.content)


async def over_subscription(harness: Harness, name: str, inputs: Inputs, who: Principal) -> Heard | None:
    """The first state that a follower is sent; None where there are none."""
    if _is_not_live(harness, name):
        return None
    call = _rpc(SUBSCRIBE, {"operation": name, "params": inputs})
    async with _connected(harness, who) as socket:
        heard = await socket.asked(call)
        return heard if heard.code != "ok" else _rpc_heard((await socket.outgoing.get()).encode())


WayIn = Callable[[Harness, str, Inputs, Principal], Awaitable[Heard | None]]
WAYS_IN: Mapping[str, WayIn] = {
    "HTTP": over_http,
    "ASGI": over_asgi,
    "JSON-RPC": over_jsonrpc,
    "WebSocket": over_websocket,
    "events": over_events,
    "subscription": over_subscription,
}


def _is_not_live(harness: Harness, name: str) -> bool:
    return bool(why_not_live(harness.serving.system.plans[name], harness.serving.system.cache))


def _request(harness: Harness, name: str, inputs: Inputs) -> tuple[str, str, Any, dict[str, str]] | None:
    """The HTTP request that means the same as a call by name: method, target, body, headers."""
    plan = harness.serving.system.plans[name]
    operation = plan.operation
    if operation.path is None:
        return None
    placed: dict[Place, dict[str, Any]] = {place: {} for place in Place}
    for found in plan.signature.inputs:
        if found.name in inputs:
            placed[found.place][_key(found)] = inputs[found.name]
    path = operation.path
    for key, value in placed[Place.PATH].items():
        path = path.replace(f"{{{key}}}", quote(str(value), safe=""))
    query = urlencode({key: _text(value) for key, value in placed[Place.QUERY].items() if value is not None})
    body: Any = next(iter(placed[Place.BODY].values()), None)
    if body is None and (operation.kind is Kind.COMMAND or placed[Place.MEMBER]):
        body = placed[Place.MEMBER]
    headers = {key: _text(value) for key, value in placed[Place.HEADER].items()}
    return operation.method, f"{path}?{query}" if query else path, body, headers


def _key(found: Input) -> str:
    return found.name if found.place is Place.PATH else found.wire_name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rpc(name: str, inputs: Inputs) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": inputs}


def _credential(harness: Harness, who: Principal) -> dict[str, str]:
    return {"authorization": f"Bearer {harness.token(who)}"} if who.subject else {}


def _heard(status: int, content: bytes) -> Heard:
    if status < 400:
        return Heard("ok", content)
    return Heard(str(msgspec.json.decode(content)["code"]), content)


def _rpc_heard(content: bytes) -> Heard:
    answer = msgspec.json.decode(content)
    return Heard(answer["error"]["data"]["code"] if "error" in answer else "ok", content)


async def _nothing() -> None: ...


class _Message(NamedTuple):
    kind: int
    data: str


class _Socket:
    """RSGI's WebSocket without a network."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[_Message] = asyncio.Queue()
        self.outgoing: asyncio.Queue[str] = asyncio.Queue()

    async def accept(self) -> _Socket:
        return self

    async def receive(self) -> _Message:
        return await self.incoming.get()

    async def send_str(self, data: str) -> None:
        await self.outgoing.put(data)

    def close(self, status: int | None = None) -> None:
        """Nothing is left to close."""

    async def asked(self, call: dict[str, Any]) -> Heard:
        await self.incoming.put(_Message(TEXT, msgspec.json.encode(call).decode()))
        return _rpc_heard((await self.outgoing.get()).encode())


@asynccontextmanager
async def _connected(harness: Harness, who: Principal) -> AsyncIterator[_Socket]:
    socket = _Socket()
    scope = MemoryScope("GET", "/ws", "", [("host", "localhost"), *_credential(harness, who).items()])
    scope.proto = "ws"
    serving = asyncio.ensure_future(harness.serving.edge(scope, socket))
    yield socket
    await socket.incoming.put(_Message(CLOSE, ""))
    await serving


class _Listening(MemoryProtocol):
    """Leaves when it has heard the first event."""

    def __init__(self) -> None:
        super().__init__([])

    async def send_bytes(self, data: bytes) -> None:
        await super().send_bytes(data)
        if b"data: " in data:
            self.leave()
