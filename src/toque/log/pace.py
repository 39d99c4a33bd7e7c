"""How often something may be done that may take long, so that it never takes much of the time."""

from __future__ import annotations

from time import monotonic

__all__ = ["CLOCK", "Pace"]

CLOCK = "extract(epoch FROM clock_timestamp())::float8"
"""PostgreSQL's own clock, asked before and after what it is to time."""


class Pace:
    """The pace of one thing that is done again and again.

    Args:
        share: what took a second is done again after so many.
        pause_max_s: the longest pause.
    """

    def __init__(self, share: int, pause_max_s: float) -> None:
        self._share = share
        self._pause_max_s = pause_max_s
        self._due = 0.0

    def pause_s(self) -> float:
        """The seconds until it may be done again; 0 for now."""
        return max(self._due - monotonic(), 0.0)

    def note(self, took_s: float) -> None:
        """It was done just now, and took *took_s*."""
        self._due = monotonic() + min(self._share * took_s, self._pause_max_s)
