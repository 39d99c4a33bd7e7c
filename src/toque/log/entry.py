"""One entry of the log: an event as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

__all__ = ["Entry"]


class Entry(Struct, frozen=True):
    """An event that was committed."""

    pos: int
    """Its place: of events whose writers waited for one another, the later one has the higher place."""
    id: UUID
    """A UUID of version 7 (RFC 9562, 5.7); the same everywhere the event goes."""
    type: str
    version: int
    key: str
    """Events with one key are handled in their order; those without one in any."""
    headers: Mapping[str, str]
    """On whose behalf, under which trace, because of what, from where."""
    data: bytes
    """JSON."""
    at: float
    """When it was published, in seconds since 1970."""
