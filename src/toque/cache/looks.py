"""Looks at the log: at most one under way and one to follow, however many requests wait for them."""

from __future__ import annotations

from math import inf

__all__ = ["Looks"]


class Looks:
    """Looks are counted as they start, so that a request can name the one that it waits for."""

    def __init__(self) -> None:
        self.started = 0
        """How many have started."""
        self.applied = 0
        """The last one whose findings were applied."""
        self.as_of = -inf
        """When that one started: what was acknowledged before is applied."""
        self.is_lost = False
        """Whether the last one failed, so that nobody should wait for the next."""
        self.is_running = False
        self.is_queued = False
        self._started_at = 0.0

    def want(self, now: float) -> bool:
        """Have one start from now on: whether that is this moment, rather than after the one under way."""
        if self.is_running:
            self.is_queued = True
            return False
        self._start(now)
        return True

    def apply(self) -> None:
        """The one under way has been applied."""
        self.is_running = self.is_lost = False
        self.applied, self.as_of = self.started, self._started_at

    def fail(self) -> None:
        """The one under way has failed. None follows by itself: how soon to try again is for whoever connects."""
        self.is_running = self.is_queued = False
        self.is_lost = True

    def follow(self, now: float) -> bool:
        """Whether one was to follow: it starts."""
        if not self.is_queued or self.is_running:
            return False
        self._start(now)
        return True

    def _start(self, now: float) -> None:
        self.is_running, self.is_queued = True, False
        self.started += 1
        self._started_at = now
