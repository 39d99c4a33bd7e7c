"""A request's body that is read before anything is decoded, and then read again as if it had just come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from math import inf
from time import monotonic
from typing import Any

from toque.call.context import Context
from toque.call.receive import Sealed
from toque.transports.bodies import BodyLimits, read_raw

__all__ = ["Held"]


class Held:
    """In the place of RSGI's protocol for who reads a body: what was read once is kept, all else is passed through."""

    __slots__ = ("_body", "_context", "_headers", "_limits", "_proto", "_scope")

    def __init__(self, context: Context, scope: Any, headers: Any, proto: Any, limits: BodyLimits) -> None:
        self._context = context
        self._scope = scope
        self._headers = headers
        self._proto = proto
        self._limits = limits
        self._body: bytes | None = None

    async def message(self) -> Sealed:
        """The request as it came. Raises: what is wrong with its framing, size or pace."""
        self._context.receive_by = monotonic() + self._limits.seconds_max
        self._body = await read_raw(self._scope, self._headers, self._proto, self._limits)
        self._context.receive_by = inf
        return Sealed(self._headers.get, self._body)

    async def __call__(self) -> bytes:
        return await self._proto() if self._body is None else self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body is not None:
            yield self._body
            return
        async for chunk in self._proto:
            yield chunk
