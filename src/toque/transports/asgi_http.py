"""One HTTP request of an ASGI server, as RSGI's protocol object."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from toque.transports.replies import Headers

__all__ = ["HttpProtocol"]

FILE_CHUNK_BYTES = 128 * 1024
"""Bytes of a file read at once: as granian does."""


class HttpProtocol:
    """Reads the request's body, and keeps the answer until `finish`."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self._body = _Body(receive)
        self._send = send
        self._finish: Callable[[], Awaitable[None]] | None = None

    async def __call__(self) -> bytes:
        return b"".join([chunk async for chunk in self])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.chunks()

    async def client_disconnect(self) -> None:
        await self._body.disconnected()

    def response_empty(self, status: int, headers: Headers) -> None:
        # Without a length of its own: an answer to HEAD has that of GET, or none (RFC 9110, 8.6).
        self._answer(status, headers, b"")

    def response_str(self, status: int, headers: Headers, body: str) -> None:
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if not _has_no_body(status) and not any(name == "content-length" for name, _ in headers):
            headers = [*headers, ("content-length", str(len(body)))]
        self._answer(status, headers, body)

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        async def finish() -> None:
            await self._send(_start(status, headers))
            await self._send({"type": "http.response.body", "body": body})

        self._finish = finish

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        self.response_file_range(status, headers, file, 0, Path(file).stat().st_size)

    def response_file_range(self, status: int, headers: Headers, file: str, start: int, end: int) -> None:
        """The bytes of *file* from *start* up to, not including, *end*."""

        async def finish() -> None:
            stream = self.response_stream(status, headers)
            opened = await asyncio.to_thread(open, file, "rb")
            try:
                await asyncio.to_thread(opened.seek, start)
                left = end - start
                while left > 0 and (chunk := await asyncio.to_thread(opened.read, min(left, FILE_CHUNK_BYTES))):
                    left -= len(chunk)
                    await stream.send_bytes(chunk)
            finally:
                opened.close()
            await stream.finish()

        self._finish = finish

    def response_stream(self, status: int, headers: Headers) -> _Stream:
        stream = _Stream(self._send, _start(status, headers))
        self._finish = stream.finish
        return stream

    async def finish(self) -> None:
        """Send what was answered, once; where nothing was, the caller has left or the server answers 500."""
        finish, self._finish = self._finish, None
        if finish is not None:
            await finish()


class _Stream:
    """A streamed answer: each chunk waits until the server takes it."""

    __slots__ = ("_send", "_start")

    def __init__(self, send: Callable[[Any], Awaitable[None]], start: dict[str, Any]) -> None:
        self._send = send
        self._start: dict[str, Any] | None = start

    async def send_bytes(self, data: bytes) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def send_str(self, data: str) -> None:
        await self.send_bytes(data.encode())

    async def finish(self) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)


class _Body:
    """The request's messages, which two wait for: who reads the body, and who watches the client.

    Both take them from one queue's end. The watcher reads at most one chunk ahead of the reader, so a body
    that nobody reads stays with the server.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._turn = asyncio.Lock()
        self._ahead: deque[bytes] = deque()
        self._taken = asyncio.Event()
        self._is_whole = False
        self._has_left = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises: ConnectionError where the client left before its body was whole."""
        while True:
            # Not in turn: once the body is whole, the watcher has the turn until the client leaves.
            if not self._is_settled:
                await self._take(unless_settled=True)
            if self._ahead:
                chunk = self._ahead.popleft()
                self._taken.set()
                yield chunk
            elif self._is_whole:
                return
            elif self._has_left:
                raise ConnectionError("the client left before its body was whole")

    async def disconnected(self) -> None:
        """Wait until the client has left."""
        while not self._has_left:
            if self._ahead and not self._is_whole:
                self._taken.clear()
                await self._taken.wait()
            await self._take()

    @property
    def _is_settled(self) -> bool:
        """Whether the reader can go on with what is known."""
        return bool(self._ahead) or self._is_whole or self._has_left

    async def _take(self, *, unless_settled: bool = False) -> None:
        """Take one message from the server; the other may have done so while this one waited for its turn."""
        async with self._turn:
            if self._has_left or (unless_settled and self._is_settled):
                return
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._has_left = True
                return
            if chunk := message.get("body", b""):
                self._ahead.append(chunk)
            self._is_whole = not message.get("more_body", False)


def _start(status: int, headers: Headers) -> dict[str, Any]:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def _has_no_body(status: int) -> bool:
    """RFC 9110, 8.6: these have no Content-Length, for they have no content."""
    return status < 200 or status in (204, 304)
