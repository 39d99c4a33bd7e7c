"""A streamed answer on its way over HTTP, item by item."""

from __future__ import annotations

from typing import Any

from toque.call.context import Sink
from toque.transports.paced import open_stream
from toque.transports.replies import Offer

__all__ = ["Sending"]


class Sending:
    """The answer to one request, which begins with its first item and ends with its tail."""

    __slots__ = ("_before", "_offer", "_proto", "_status", "_transport")

    def __init__(self, proto: Any, status: int) -> None:
        self._proto = proto
        self._status = status
        self._offer: Offer | None = None
        self._before = b""
        self._transport: Any = None

    @property
    def has_begun(self) -> bool:
        return self._transport is not None

    def through(self, offer: Offer) -> Sink:
        """What takes the items, and sends them in the format of *offer*."""
        assert offer.stream is not None, "a streamed operation offers only formats that stream"
        self._offer = offer
        self._before = offer.stream.head
        return self._send

    async def _send(self, item: Any) -> None:
        assert self._offer is not None and self._offer.stream is not None
        stream = self._offer.stream
        data = self._before + stream.item(item)
        if self._transport is None:
            self._transport = open_stream(self._proto, self._status, self._offer.headers)
        self._before = stream.separator
        await self._transport.send_bytes(data)

    async def end(self) -> None:
        """Send the tail; an answer without items is its head and its tail."""
        assert self._offer is not None and self._offer.stream is not None
        stream = self._offer.stream
        if self._transport is not None:
            await self._transport.send_bytes(stream.tail)
        else:
            self._proto.response_bytes(self._status, self._offer.headers, stream.head + stream.tail)

    def close(self) -> None:
        """End the answer, whole or not."""
        if self._transport is not None:
            self._transport.close()
