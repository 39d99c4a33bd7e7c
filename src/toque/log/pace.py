"""How often something may be done that may take long, so that it never takes much of the time."""

from __future__ import annotations

from time import monotonic

__all__ = ["CLOCK", "Pace"]

CLOCK = "extract(epoch FROM clock_timestamp())::float8"
"""PostgreSQL's own clock, asked before and after what it is to time."""

SHARE = 20
"""What took a second is done again after twenty: a twentieth of the time, which nobody who works beside it notices."""

PAUSE_MAX_S = 30.0
"""Nobody waits longer than that for what only this finds, however long it took. It may also only seem to have taken
long: it is timed by a clock that can be set, or go on while a machine sleeps."""


class Pace:
    """The pace of one thing that is done again and again."""

    def __init__(self) -> None:
        self._due = 0.0

    def pause_s(self) -> float:
        """The seconds until it may be done again; 0 for now."""
        return max(self._due - monotonic(), 0.0)

    def note(self, took_s: float) -> None:
        """It was done just now, and took *took_s*."""
        self._due = monotonic() + min(SHARE * took_s, PAUSE_MAX_S)
