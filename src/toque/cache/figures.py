"""What the cache did for one operation, in counts that only grow."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["CacheFigures"]


class CacheFigures(Struct, eq=False):
    """Calls by what became of them, and what a second look found."""

    hits: int = 0
    """Answered from memory."""
    joined: int = 0
    """Answered by the run of another call."""
    repeated: int = 0
    """Of the hits, those whose request was known word for word (`transports/repeats.py`)."""
    shared: int = 0
    """Of the hits, those that another process had found out (`shared.py`)."""
    runs: int = 0
    """Asked the database, whether the answer was kept or not."""
    kept: int = 0
    """Of those, whose answer was kept."""
    bypassed: int = 0
    """Went past memory, because their caller or the operation wanted it so."""
    verified: int = 0
    """Hits that were run again and compared."""
    wrong: int = 0
    """Of those, that differed: 0, or somebody's declaration does not hold, or Toque has a bug."""
