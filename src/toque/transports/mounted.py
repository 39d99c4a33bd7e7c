"""An ASGI application (FastAPI, Starlette, Django) that answers below a path of ours.

Source: the ASGI specification 3.0, with its HTTP and WebSocket parts (2.4: a client that has left makes
`send` raise OSError) and its lifespan part (2.0).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from toque.contract.errors import Internal
from toque.transports.lifespan import Lifespan
from toque.transports.paced import Leaving, open_stream
from toque.transports.replies import Headers, refuse
from toque.transports.router import root_path_of
from toque.transports.rsgi import CLOSE, TEXT

__all__ = ["Mounted"]

log = logging.getLogger("toque.mounted")

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]

_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
_HTTP_VERSIONS = {"1": "1.0"}


class Mounted:
    """An ASGI application as an RSGI endpoint for everything below *prefix*, which lives from `start` to `stop`."""

    def __init__(self, app: AsgiApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix.rstrip("/")
        self._lifespan = Lifespan(app)

    async def start(self) -> None:
        """Let the application start. Raises: RuntimeError with its own words where it cannot."""
        await self._lifespan.start()

    async def stop(self) -> None:
        await self._lifespan.stop()

    async def __call__(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...] = ()) -> None:
        """Answer one HTTP request."""
        leaving = Leaving(proto)
        request = _Request(scope, proto, leaving)
        answer = _Answer(proto, scope.client, leaving)
        try:
            await self._app(self._scope_of(scope), request.receive, answer.send)
            if not answer.is_whole and not request.has_left:
                raise RuntimeError("the mounted application returned before its answer was whole")
        except Exception:
            if answer.has_no_taker:
                return
            log.exception("the application mounted at %s failed", self._prefix or "/")
            if not answer.has_begun:
                refuse(scope, proto, Internal())
        finally:
            request.stop()
            answer.end()

    async def websocket(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...] = ()) -> None:
        """Serve one WebSocket."""
        socket = _Socket(proto)
        try:
            await self._app(self._scope_of(scope), socket.receive, socket.send)
        except Exception:
            if not socket.has_left:
                log.exception("the application mounted at %s failed", self._prefix or "/")
            socket.end(1011, 500)
        else:
            socket.end(1000, 403)

    def _scope_of(self, scope: Any) -> dict[str, Any]:
        is_http = scope.proto == "http"
        scheme = scope.scheme
        root_path = root_path_of(scope)
        found: dict[str, Any] = {
            "type": "http" if is_http else "websocket",
            "asgi": _VERSIONS,
            "http_version": _HTTP_VERSIONS.get(scope.http_version, scope.http_version),
            "scheme": scheme if is_http else {"http": "ws", "https": "wss"}.get(scheme, scheme),
            "path": root_path + scope.path,
            # The path as it was sent is not known: RSGI gives it decoded. ASGI leaves raw_path out then.
            "root_path": root_path + self._prefix,
            "query_string": scope.query_string.encode("latin-1"),
            "headers": _pairs(scope),
            "client": _address(scope.client),
            "server": _address(scope.server),
            "extensions": {},
            "state": dict(self._lifespan.state),
        }
        if is_http:
            return found | {"method": scope.method}
        asked = scope.headers.get("sec-websocket-protocol") or ""
        return found | {"subprotocols": [name.strip() for name in asked.split(",") if name.strip()]}


class _Request:
    """The request as ASGI's messages: the body, chunk by chunk when asked for, then the leaving."""

    def __init__(self, scope: Any, proto: Any, leaving: Leaving) -> None:
        self._proto = proto
        self._leaving = leaving
        self._chunks: AsyncIterator[bytes] | None = None
        self._next: asyncio.Task[dict[str, Any]] | None = None
        self._is_whole = _is_without_body(scope)
        self._has_told = False
        """Whether the application was given the whole body."""
        self.has_left = False
        length = scope.headers.get("content-length")
        self._missing = int(length) if length is not None and length.isdigit() else None

    async def receive(self) -> dict[str, Any]:
        """The next message; may be cancelled without a loss, as Starlette's middleware does."""
        if self._next is None:
            self._next = asyncio.create_task(self._receive())
        message = await asyncio.shield(self._next)
        self._next = None
        return message

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()

    async def _receive(self) -> dict[str, Any]:
        if self.has_left:
            return {"type": "http.disconnect"}
        if self._has_told:
            await self._leaving.wait()
            self.has_left = True
            return {"type": "http.disconnect"}
        chunk = b"" if self._is_whole else await self._chunk()
        if chunk is None:
            self.has_left = True
            return {"type": "http.disconnect"}
        self._has_told = chunk == b""
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    async def _chunk(self) -> bytes | None:
        """The next bytes, none at the end, None where the client left before it."""
        if self._chunks is None:
            self._chunks = aiter(self._proto)
        chunk: bytes | None
        try:
            while True:
                # Not `async for`: it would ask granian for the body a second time. And no default for anext:
                # CPython 3.11 then crashes on granian's futures.
                chunk = await anext(self._chunks)
                if chunk:
                    self._missing = None if self._missing is None else self._missing - len(chunk)
                    return chunk
        except StopAsyncIteration:
            # granian ends a broken body like a whole one; its length gives that away.
            return None if self._missing else b""
        except Exception:
            # The server's own error, whatever it is called: the body is broken, or its sender has gone.
            return None


class _Answer:
    """The application's messages as RSGI's calls: one for a short answer, a stream for a longer one.

    `send` waits as long as the client makes it wait. A stream that breaks off looks whole unless the application
    gave its length.
    """

    def __init__(self, proto: Any, client: str, leaving: Leaving) -> None:
        self._proto = proto
        self._client = client
        self._leaving = leaving
        self._head: tuple[int, Headers] | None = None
        self._stream: Any = None
        self.has_begun = False
        self.is_whole = False
        self.has_no_taker = False
        """Whether the client has left. Not the error that said so: it knows the application's frames, and kept here
        it would keep them, and all that they opened, until the garbage collector comes by."""

    async def send(self, message: Any) -> None:
        """Take one message. Raises: OSError when the client has left."""
        if message["type"] == "http.response.start":
            self._head = (
                _status(message["status"]),
                [(_text(name), _text(value)) for name, value in message.get("headers", ())],
            )
            return
        if message["type"] != "http.response.body":
            raise ValueError(f"expected http.response.start or http.response.body, got {message['type']!r}")
        if self._head is None or self.is_whole:
            raise RuntimeError("http.response.body stands between http.response.start and the last body")
        body = bytes(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        if self.is_whole and not self.has_begun:
            self._answer_at_once(*self._head, body)
            if (finish := getattr(self._proto, "finish", None)) is not None:
                # Under an ASGI server: what the application still does, as in the background, holds up no answer.
                await finish()
        else:
            await self._go_on(*self._head, body)

    def end(self) -> None:
        """End the answer, whole or not."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _answer_at_once(self, status: int, headers: Headers, body: bytes) -> None:
        self.has_begun = True
        if body:
            self._proto.response_bytes(status, headers, body)
        else:
            self._proto.response_empty(status, headers)

    async def _go_on(self, status: int, headers: Headers, body: bytes) -> None:
        if not self.has_begun:
            self.has_begun = True
            self._stream = open_stream(self._proto, status, headers, self._client, self._leaving.found)
        if not body:
            return
        try:
            await self._stream.send_bytes(body)
        except Exception as error:
            self.has_no_taker = True
            raise OSError("the client has left") from error


class _Socket:
    """A WebSocket as ASGI's messages."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._transport: Any = None
        self._has_told = False
        self._is_closed = False
        self.has_left = False

    async def receive(self) -> dict[str, Any]:
        if not self._has_told:
            self._has_told = True
            return {"type": "websocket.connect"}
        if self._transport is None:
            raise RuntimeError("websocket.accept or websocket.close comes before the first message")
        try:
            message = await self._transport.receive()
        except Exception:
            # The connection broke: RFC 6455, 7.1.5, calls that 1006.
            self.has_left = True
            return {"type": "websocket.disconnect", "code": 1006}
        if message.kind == CLOSE:
            self.has_left = True
            return {"type": "websocket.disconnect", "code": 1005}
        return {"type": "websocket.receive", "text" if message.kind == TEXT else "bytes": message.data}

    async def send(self, message: Any) -> None:
        """Take one message. Raises: OSError when the client has left."""
        kind = message["type"]
        if kind == "websocket.accept":
            # RSGI's accept takes neither headers nor a subprotocol.
            self._transport = await self._proto.accept()
        elif kind == "websocket.close":
            self._close(message.get("code", 1000) if self._transport is not None else 403)
        elif kind == "websocket.send":
            await self._send(message)
        else:
            raise ValueError(f"expected websocket.accept, .send or .close, got {kind!r}")

    def end(self, code: int, status: int) -> None:
        """Close with *code*, or refuse with *status*, unless the application has done so.

        granian ends the connection when nobody holds the transport any more, and not before.
        """
        self._close(status if self._transport is None else code)
        self._transport = None

    def _close(self, code: int) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._proto.close(code)

    async def _send(self, message: Any) -> None:
        text = message.get("text")
        try:
            if text is None:
                await self._transport.send_bytes(message["bytes"])
            else:
                await self._transport.send_str(text)
        except Exception as error:
            self.has_left = True
            raise OSError("the client has left") from error


def _is_without_body(scope: Any) -> bool:
    """HTTP/1.1 says so in the head (RFC 9112, 6.3); HTTP/2 only at the end."""
    headers = scope.headers
    return scope.http_version[0] == "1" and "content-length" not in headers and "transfer-encoding" not in headers


def _pairs(scope: Any) -> list[tuple[bytes, bytes]]:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in scope.headers.items()]
    if scope.authority and "host" not in scope.headers:
        pairs.insert(0, (b"host", scope.authority.encode("latin-1")))
    return pairs


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


def _status(status: Any) -> int:
    """*status*, where an answer can have it (RFC 9110, 15): granian ends its process over one that HTTP cannot
    write."""
    found = int(status)
    if not 200 <= found <= 999:
        raise ValueError(f"expected the status of an answer, from 200 to 999, got {found}")
    return found


def _text(data: bytes) -> str:
    return bytes(data).decode("latin-1")
