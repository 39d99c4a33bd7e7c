"""A streamed answer on its way over HTTP, item by item."""

from __future__ import annotations

from typing import Any

from toque.call.context import Sink
from toque.codecs.stream import StreamEncoder
from toque.transports.paced import open_stream
from toque.transports.replies import Headers, Offer

__all__ = ["Sending"]


class Sending:
    """The answer to one request, which begins with its first item and ends with its tail."""

    __slots__ = ("_before", "_encoder", "_headers", "_proto", "_status", "_transport")

    def __init__(self, proto: Any, status: int) -> None:
        self._proto = proto
        self._status = status
        self._headers: Headers = []
        self._encoder = StreamEncoder(bytes)
        self._before = b""
        self._transport: Any = None

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
            self._transport = open_stream(self._proto, self._status, self._headers)
        self._before = self._encoder.separator
        await self._transport.send_bytes(data)

    async def end(self) -> None:
        """Send the tail; an answer without items is its head and its tail."""
        if self._transport is not None:
            await self._transport.send_bytes(self._encoder.tail)
        else:
            self._proto.response_bytes(self._status, self._headers, self._encoder.head + self._encoder.tail)

    def close(self) -> None:
        """Let go of the connection: the server keeps it open for as long as somebody holds it."""
        if self._transport is not None:
            self._transport.close()
