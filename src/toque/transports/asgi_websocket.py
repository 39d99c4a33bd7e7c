"""One WebSocket of an ASGI server, as RSGI's protocol object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from toque.transports.rsgi import BYTES, CLOSE, TEXT

__all__ = ["WebSocketProtocol"]

REFUSED = "websocket.http.response"
"""The extension by which a server lets a handshake be answered with an HTTP status other than 403."""


@dataclass(frozen=True, slots=True)
class _Received:
    """RSGI's message."""

    kind: int
    data: Any = None


class WebSocketProtocol:
    """Takes or refuses the handshake; it is its own transport once taken."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self._receive = receive
        self._send = send
        self._can_refuse = REFUSED in (scope.get("extensions") or {})
        self._is_open = False
        self._has_left = False
        self._status: int | None = None

    async def accept(self) -> WebSocketProtocol:
        await self._receive()
        await self._send({"type": "websocket.accept"})
        self._is_open = True
        return self

    def close(self, status: int | None = None) -> None:
        """When the endpoint has returned, end the socket with a code, or refuse it with an HTTP status."""
        self._status = status

    async def receive(self) -> _Received:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._has_left = True
            return _Received(CLOSE)
        text = message.get("text")
        return _Received(BYTES, message["bytes"]) if text is None else _Received(TEXT, text)

    async def send_bytes(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})

    async def send_str(self, data: str) -> None:
        await self._send({"type": "websocket.send", "text": data})

    async def finish(self) -> None:
        """Do what `close` asked for."""
        if self._has_left:
            return
        if self._is_open:
            await self._send({"type": "websocket.close", "code": self._status or 1000})
            return
        await self._receive()
        if self._can_refuse:
            await self._send({"type": f"{REFUSED}.start", "status": self._status or 403, "headers": []})
            await self._send({"type": f"{REFUSED}.body", "body": b""})
        else:
            await self._send({"type": "websocket.close", "code": 1000})
