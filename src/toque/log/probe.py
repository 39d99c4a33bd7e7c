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
    may_walk: bool = False
    """Whether it may have to walk over what was deleted and a snapshot keeps. Where that takes long it is asked less
    often, and a look says nothing of it in between."""


# An order and a limit have the index used, whatever is known of the table: asked with EXISTS alone, the server reads
# all that was published since the day began at every look, in the hope to find a new one among the first.
EVENTS = Probe(
    """
    CASE WHEN (SELECT xid FROM toque.event ORDER BY xid DESC LIMIT 1) >= $1::text::xid8 OR EXISTS (
        SELECT FROM unnest($2::text[]::xid8[]) AS open(xid)
        WHERE xid = (SELECT e.xid FROM toque.event AS e WHERE e.xid >= open.xid ORDER BY e.xid LIMIT 1))
    THEN 0.0::float8 END
    """,
    "CASE WHEN EXISTS (SELECT 1 FROM toque_event WHERE pos > ?1) THEN 0.0 END",
)
"""Whether anything was published since the last look."""
