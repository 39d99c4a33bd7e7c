"""What happens to many calls at once, said once for all of them."""

from __future__ import annotations

import logging

__all__ = ["Notice"]

log = logging.getLogger("toque.overload")

EVERY_S = 1.0
"""A line for each refused call would cost more than refusing it, and bury what else there is to read. Counters are read
every 15 s and more by Prometheus, so a second is fine enough for a log too."""


class Notice:
    """Counts what happens, and says so in a warning: at once, and then no more than once in a while.

    Args:
        text: what it says, with `%d` for how many since the last time.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._due = 0.0

    def happened(self, now: float) -> None:
        """Count one, at the moment *now* on the monotonic clock."""
        self._count += 1
        if now >= self._due:
            log.warning(self._text, self._count)
            self._count = 0
            self._due = now + EVERY_S
