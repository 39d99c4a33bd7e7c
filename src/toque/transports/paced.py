"""A streamed answer that goes no faster than its client reads it.

granian's `response_stream` takes whatever it is given and never waits: what a slow client has not read stays in
memory, all of it (granian 2.8: `rsgi/io.rs` sends into an unbounded channel; pull request 898 bounded those of ASGI
and WSGI only). A file, though, it reads piece by piece, as the client takes it. So the answer is given as one: the
reading end of a pipe, whose writing end waits while the pipe is full.

The price: of an answer that is a file, granian does not say when its client leaves. Whoever writes finds out with the
next item but one, and for those who are silent the kernel is asked whether their connection is still there. And a
thread of granian's waits in the pipe meanwhile, for which granian waits when it stops, under Python's lock: nothing in
this process would run until it is killed. So all pipes are ended before granian is told to stop (`end_streams`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from toque.call.observation import CallerLeft
from toque.call.tasks import awaited
from toque.transports.replies import Headers
from toque.transports.stalling import is_gone

__all__ = ["Leaving", "end_streams", "open_stream"]

STALLED_S = 60.0
"""How long a client may take nothing at all before it counts as gone: as long as with nginx (`send_timeout`)."""

OPENING_S = 10.0
"""How long the server may take to open its end: as long as a call's deadline unless set otherwise."""

LOOK_S = 0.05
"""How often we look whether it has."""

GONE_S = 1.0
"""How often the kernel is asked who is still connected, while anything is streamed."""

HAS_PIPES = Path("/dev/fd").is_dir()


class Leaving:
    """Whether the client of one request has gone, whoever finds out: the server, or who streams the answer."""

    __slots__ = ("_found", "_proto")

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._found: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def found(self) -> None:
        """The client has gone."""
        _set(self._found)

    async def wait(self) -> None:
        """Return when it has gone. For one who waits: granian wakes one of several only."""
        told = asyncio.create_task(awaited(self._proto.client_disconnect))
        told.add_done_callback(lambda _: self.found())
        try:
            await asyncio.shield(self._found)
        finally:
            told.cancel()


def open_stream(proto: Any, status: int, headers: Headers, client: str, on_left: Callable[[], None]) -> Any:
    """Begin to answer; returns what has `send_bytes`, which waits for the client, and `close`.

    Args:
        client: `address:port`, as the server calls it.
        on_left: told that the client has gone, where the server does not tell.
    """
    if (begin := getattr(proto, "open_stream", None)) is not None:
        return begin(status, headers, client, on_left)
    if HAS_PIPES and not _is_ending and type(proto).__name__ == "RSGIHTTPProtocol":
        return _Pipe(proto, status, headers, client, on_left)
    return _Unpaced(proto.response_stream(status, headers))


async def end_streams(seconds: float) -> None:
    """Let what is streamed in this process end within so many *seconds*; then cut off the rest.

    The little that begins afterwards, on connections that are there already, goes unpaced.
    """
    global _is_ending
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while _open and loop.time() < until:  # noqa: ASYNC110 - looked at once in a process's life
        await asyncio.sleep(LOOK_S)
    _is_ending = True
    for pipe in tuple(_open):
        pipe.cut()


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

    __slots__ = (
        "_began",
        "_client",
        "_has_written",
        "_leaving",
        "_loop",
        "_on_left",
        "_opening_until",
        "_room",
        "_source",
        "_target",
    )

    def __init__(self, proto: Any, status: int, headers: Headers, client: str, on_left: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._on_left = on_left
        self._began = monotonic()
        self._has_written = False
        self._room: asyncio.Future[None] | None = None
        self._opening_until = self._loop.time() + OPENING_S
        self._source, self._target = os.pipe()
        os.set_blocking(self._target, False)
        proto.response_file(status, headers, f"/dev/fd/{self._source}")
        # A client that leaves before the server has opened its end is known by its leaving alone: nobody will ever
        # read, and nobody close an end. Later it is the other way round. Between the two is OPENING_S.
        self._leaving = asyncio.create_task(awaited(proto.client_disconnect))
        self._leaving.add_done_callback(lambda _: self._close_source())
        _open.add(self)
        self._look()

    async def send_bytes(self, data: bytes) -> None:
        """Write *data* as fast as it is read. Raises: CallerLeft where nobody reads any more."""
        rest = memoryview(data)
        while rest:
            if self._target < 0:
                raise CallerLeft
            self._close_source_if_read()
            try:
                rest = rest[os.write(self._target, rest) :]
                self._has_written = True
            except BlockingIOError:
                await self._have_room()
            except BrokenPipeError:
                raise CallerLeft from None

    def close(self) -> None:
        """End the answer after what is written."""
        _open.discard(self)
        if self._target >= 0:
            os.close(self._target)
            self._target = -1
        self._let_go()

    def cut(self) -> None:
        """End the answer where it is, and tell so."""
        if self._room is not None:
            self._loop.remove_writer(self._target)
            _set(self._room)
        self.close()
        self._on_left()

    def _look(self) -> None:
        if self._target < 0:
            return
        if is_gone(self._client, self._began):
            self.cut()
        else:
            self._loop.call_later(GONE_S, self._look)

    async def _have_room(self) -> None:
        self._room = self._loop.create_future()
        self._loop.add_writer(self._target, _set, self._room)
        try:
            async with asyncio.timeout(STALLED_S):
                await self._room
        except TimeoutError:
            raise CallerLeft from None
        finally:
            self._room = None
            if self._target >= 0:
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


_open: set[_Pipe] = set()
"""Those of this process whose answer is under way."""

_is_ending = False
"""Whether none may begin any more."""


def _unread_bytes(source: int) -> int:
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(source, termios.FIONREAD, b"\0\0\0\0"))
    return found[0]


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
