"""A snapshot of PostgreSQL as text: `xmin:xmax:xip,xip` (manual, table 9.83)."""

from __future__ import annotations

__all__ = ["bounds"]


def bounds(snapshot: str) -> tuple[str, list[str]]:
    """xmax, and the transactions below it that had not ended: what is not in *snapshot* is from the first on, or among
    the second."""
    _, xmax, xip = snapshot.split(":")
    return xmax, xip.split(",") if xip else []
