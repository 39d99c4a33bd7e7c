"""The edge as an ASGI 3 application, for servers and frameworks that do not speak RSGI.

RSGI answers with plain calls, ASGI with messages that are awaited. So what an endpoint answers is kept until
the endpoint has returned and is sent then; only a stream is sent while the endpoint runs, as fast as the
server takes it.

Source: the ASGI specification 3.0, with its HTTP and WebSocket (2.4) and lifespan (2.0) parts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from toque.transports.asgi_http import HttpProtocol
from toque.transports.asgi_websocket import WebSocketProtocol

__all__ = ["AsgiApplication"]

log = logging.getLogger("toque.asgi")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Edge = Callable[[Any, Any], Awaitable[None]]
Act = Callable[[], Awaitable[None]]


class AsgiApplication:
    """An ASGI 3 application around an RSGI edge.

    Args:
        start: run with the server's lifespan; where none is announced, as in an app mounted by another, before the
            first request.
        stop: run with the server's lifespan.
    """

    def __init__(self, edge: Edge, start: Act, stop: Act) -> None:
        self._edge = edge
        self._start = start
        self._stop = stop
        self._starting: asyncio.Future[None] | None = None
        self._is_running = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"expected an ASGI scope of http, websocket or lifespan, got {scope['type']!r}")
        if not self._is_running:
            await self.start()
        adapt: Any = HttpProtocol if scope["type"] == "http" else WebSocketProtocol
        protocol = adapt(scope, receive, send)
        await self._edge(RsgiScope(scope), protocol)
        await protocol.finish()

    async def start(self) -> None:
        """Start the system once, however many requests wait for it; a start that failed is tried again."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._begin())
        # A caller who leaves does not stop the start that others wait for.
        await asyncio.shield(self._starting)

    async def _begin(self) -> None:
        try:
            await self._start()
        except BaseException:
            self._starting = None
            raise
        self._is_running = True

    async def stop(self) -> None:
        """Stop the system, where it was started; for a host that has no lifespan to give."""
        if self._is_running:
            self._is_running, self._starting = False, None
            await self._stop()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start and stop as the server says (ASGI lifespan 2.0)."""
        await receive()
        try:
            await self.start()
        except Exception as error:
            log.exception("the app cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self.stop()
        except Exception as error:
            log.exception("the app did not stop as it should")
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


class RsgiScope:
    """An ASGI scope with the attributes of RSGI's."""

    __slots__ = ("_scope", "headers", "http_version", "path", "proto")

    rsgi_version = "1.6"
    authority = None
    """ASGI gives HTTP/2's :authority as the Host header."""

    def __init__(self, scope: Message) -> None:
        self._scope = scope
        self.proto = "http" if scope["type"] == "http" else "ws"
        self.http_version = _HTTP_VERSIONS.get(scope.get("http_version", "1.1"), scope.get("http_version", "1.1"))
        self.path = _below(scope["path"], self.root_path)
        self.headers = RsgiHeaders(scope["headers"])

    @property
    def root_path(self) -> str:
        """Where the edge is mounted; not in RSGI, but what an app mounted in turn must know."""
        return self._scope.get("root_path", "").rstrip("/")  # type: ignore[no-any-return]

    @property
    def scheme(self) -> str:
        return self._scope.get("scheme", "http")  # type: ignore[no-any-return]

    @property
    def method(self) -> str:
        # A WebSocket's handshake is a GET (RFC 6455, 4.1); ASGI does not say so.
        return self._scope.get("method", "GET")  # type: ignore[no-any-return]

    @property
    def query_string(self) -> str:
        return self._scope.get("query_string", b"").decode("latin-1")  # type: ignore[no-any-return]

    @property
    def client(self) -> str:
        return _address(self._scope.get("client"))

    @property
    def server(self) -> str:
        return _address(self._scope.get("server"))


_HTTP_VERSIONS = {"1.0": "1", "2.0": "2", "3.0": "3"}


class RsgiHeaders:
    """ASGI's header pairs, read as RSGI's headers are."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def get(self, name: str, default: Any = None) -> Any:
        values = self._values.get(name)
        return default if values is None else values[0]

    def get_all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def keys(self) -> list[str]:
        return list(self._values)

    def values(self) -> list[str]:
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self._values.items() for value in values]

    def __contains__(self, name: str) -> bool:
        return name in self._values


def _below(path: str, root_path: str) -> str:
    """The part of *path* that the edge routes: ASGI's path begins with the path of the mount."""
    if root_path and (path == root_path or path.startswith(root_path + "/")):
        return path[len(root_path) :] or "/"
    return path


def _address(pair: Any) -> str:
    return "" if pair is None else f"{pair[0]}:{pair[1]}" if pair[1] is not None else str(pair[0])
