"""Whether to ask a server that one can do without: not while it does not answer."""

from __future__ import annotations

__all__ = ["Circuit"]

PAUSE_S, PAUSE_MAX_S = 1.0, 30.0
"""How long nobody asks after a failure: twice as long each time that one try shows no better."""


class Circuit:
    """Closed while the server answers. Open after a failure, until a pause is over; then one try decides."""

    def __init__(self) -> None:
        self.opened = 0
        """How often it failed."""
        self._pause_s = 0.0
        self._until = 0.0
        self._is_trying = False

    @property
    def is_closed(self) -> bool:
        return not self._pause_s

    def lets(self, now: float) -> bool:
        """Whether the server may be asked; where that is a try, nobody else is let through before it has ended."""
        if self.is_closed:
            return True
        if self._is_trying or now < self._until:
            return False
        self._is_trying = True
        return True

    def succeed(self) -> None:
        self._pause_s, self._is_trying = 0.0, False

    def fail(self, now: float) -> None:
        self.opened += 1
        self._pause_s = min(self._pause_s * 2 or PAUSE_S, PAUSE_MAX_S)
        self._until, self._is_trying = now + self._pause_s, False
