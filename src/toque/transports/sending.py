"""A streamed answer on its way over HTTP, item by item.

It is compressed like any other answer, but whole items at a time: a client reads each as soon as it has come.
"""

from __future__ import annotations

from typing import Any

from toque.call.context import Sink
from toque.codecs.compression import StreamCompressor, stream_compressor
from toque.codecs.stream import StreamEncoder
from toque.transports.paced import Leaving, open_stream
from toque.transports.replies import Headers, Offer, coding_of

__all__ = ["Sending"]


class Sending:
    """The answer to one request, which begins with its first item and ends with its tail."""

    __slots__ = (
        "_before",
        "_compressor",
        "_encoder",
        "_headers",
        "_leaving",
        "_proto",
        "_scope",
        "_status",
        "_transport",
    )

    def __init__(self, scope: Any, proto: Any, status: int) -> None:
        self._scope = scope
        self._proto = proto
        self._status = status
        self._headers: Headers = []
        self._encoder = StreamEncoder(bytes)
        self._before = b""
        self._compressor: StreamCompressor | None = None
        self._transport: Any = None
        self._leaving = Leaving(proto)

    @property
    def has_begun(self) -> bool:
        return self._transport is not None

    def through(self, offer: Offer) -> Sink:
        """What takes the items, and sends them in the format of *offer*."""
        self._headers = offer.headers
        self._encoder = offer.stream or self._encoder
        self._before = self._encoder.head
        return self._send

    async def _send(self, item: Any) -> None:
        data = self._before + self._encoder.item(item)
        if self._transport is None:
            self._transport = self._begin()
        self._before = self._encoder.separator
        await self._transport.send_bytes(data if self._compressor is None else self._compressor.chunk(data))

    def _begin(self) -> Any:
        headers, coding = self._headers, None
        if self._encoder.is_compressible:
            headers, coding = coding_of(self._scope, headers)
        if coding is not None:
            self._compressor = stream_compressor(coding)
        return open_stream(self._proto, self._status, headers, self._scope.client, self._leaving.found)

    async def left(self) -> None:
        """Wait until the client has gone."""
        await self._leaving.wait()

    async def end(self) -> None:
        """Send the tail; an answer without items is its head and its tail."""
        tail = self._encoder.tail
        if self._transport is None:
            self._proto.response_bytes(self._status, self._headers, self._encoder.head + tail)
        elif self._compressor is None:
            await self._transport.send_bytes(tail)
        else:
            await self._transport.send_bytes((self._compressor.chunk(tail) if tail else b"") + self._compressor.end())

    def close(self) -> None:
        """Let go of the connection: the server keeps it open for as long as somebody holds it."""
        if self._transport is not None:
            self._transport.close()
