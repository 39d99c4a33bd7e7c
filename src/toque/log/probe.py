"""What a tail asks the database for at every look."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["EVENTS", "Probe"]


class Probe(Struct, frozen=True):
    """A scalar expression: in how many seconds there will be something to do, 0 or less for now, NULL for nothing."""

    postgresql: str
    sqlite: str
    keeps_alert: bool = True
    """Whether news mean that more are likely soon, so that the next look comes early."""


EVENTS = Probe(
    "CASE WHEN EXISTS (SELECT FROM toque.event WHERE xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])) "
    "THEN 0.0::float8 END",
    "CASE WHEN EXISTS (SELECT 1 FROM toque_event WHERE pos > ?1) THEN 0.0 END",
)
"""Whether anything was published since the last look."""
