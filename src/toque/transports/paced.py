"""A streamed answer that goes no faster than its client reads it.

granian's `response_stream` takes whatever it is given and never waits: what a slow client has not read stays in
memory, all of it (granian 2.8: `rsgi/io.rs` sends into an unbounded channel; pull request 898 bounded those of ASGI
and WSGI only). A file, though, it reads piece by piece, as the client takes it. So the answer is given as one: the
reading end of a pipe, whose writing end waits while the pipe is full. The price: of an answer that is a file, granian
does not say when its client leaves; the next item but one finds out.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Any

from toque.call.observation import CallerLeft
from toque.transports.replies import Headers

__all__ = ["open_stream"]

STALLED_S = 60.0
"""How long a client may take nothing at all before it counts as gone: as long as with nginx (`send_timeout`)."""

OPENING_S = 10.0
"""How long the server may take to open its end: as long as a call's deadline unless set otherwise."""

LOOK_S = 0.05
"""How often we look whether it has."""

HAS_PIPES = Path("/dev/fd").is_dir()


def open_stream(proto: Any, status: int, headers: Headers) -> Any:
    """Begin to answer; returns what has `send_bytes`, which waits for the client, and `close`."""
    if (begin := getattr(proto, "open_stream", None)) is not None:
        return begin(status, headers)
    if HAS_PIPES and type(proto).__name__ == "RSGIHTTPProtocol":
        return _Pipe(proto, status, headers)
    return _Unpaced(proto.response_stream(status, headers))


class _Unpaced:
    """A stream of a server that waits by itself, or cannot be made to."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Any) -> None:
        self._stream: Any = stream

    async def send_bytes(self, data: bytes) -> None:
        await self._stream.send_bytes(data)

    def close(self) -> None:
        # The server ends the answer when nobody holds the stream any more.
        self._stream = None


class _Pipe:
    """Our ends of a pipe; the server has an end of its own, and when it closes that, the client has left."""

    __slots__ = ("_has_written", "_leaving", "_loop", "_opening_until", "_source", "_target")

    def __init__(self, proto: Any, status: int, headers: Headers) -> None:
        self._loop = asyncio.get_running_loop()
        self._has_written = False
        self._opening_until = self._loop.time() + OPENING_S
        self._source, self._target = os.pipe()
        os.set_blocking(self._target, False)
        proto.response_file(status, headers, f"/dev/fd/{self._source}")
        # A client that leaves before the server has opened its end is known by its leaving alone: nobody will ever
        # read, and nobody close an end. Later it is the other way round. Between the two is OPENING_S.
        self._leaving = asyncio.ensure_future(_left(proto))
        self._leaving.add_done_callback(lambda _: self._close_source())

    async def send_bytes(self, data: bytes) -> None:
        """Write *data* as fast as it is read. Raises: CallerLeft where nobody reads any more."""
        rest = memoryview(data)
        while rest:
            self._close_source_if_read()
            try:
                rest = rest[os.write(self._target, rest) :]
                self._has_written = True
            except BlockingIOError:
                await self._room()
            except BrokenPipeError:
                raise CallerLeft from None

    def close(self) -> None:
        """End the answer after what is written."""
        os.close(self._target)
        self._let_go()

    async def _room(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._target, _set, waiter)
        try:
            async with asyncio.timeout(STALLED_S):
                await waiter
        except TimeoutError:
            raise CallerLeft from None
        finally:
            self._loop.remove_writer(self._target)

    def _let_go(self) -> None:
        self._close_source_if_read()
        if self._source >= 0:
            self._loop.call_later(LOOK_S, self._let_go)

    def _close_source_if_read(self) -> None:
        """Close our reading end once the server has its own: it opens that by our number, which must not be another
        file's by then."""
        if self._source < 0:
            return
        is_read = self._has_written and _unread_bytes(self._source) == 0
        if is_read or self._loop.time() > self._opening_until:
            self._close_source()

    def _close_source(self) -> None:
        if self._source >= 0:
            os.close(self._source)
            self._source = -1
            self._leaving.cancel()


async def _left(proto: Any) -> None:
    await proto.client_disconnect()


def _unread_bytes(source: int) -> int:
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(source, termios.FIONREAD, b"\0\0\0\0"))
    return found[0]


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
