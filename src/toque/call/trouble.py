"""What keeps something from being done, said when it begins and when it is over, and not at each try in between."""

from __future__ import annotations

from logging import Logger
from time import monotonic

__all__ = ["Trouble"]

AGAIN_S = 60.0
"""Who opens a log in the middle of it finds it there, within a minute; a line for each try would bury all others."""


class Trouble:
    """One thing that fails, and is tried again.

    Args:
        log: where it is said.
        what: what that means, in words that can be followed by a reason.
    """

    def __init__(self, log: Logger, what: str) -> None:
        self.what = what
        self._log = log
        self._told = ""
        self._due = 0.0

    def met(self, error: Exception) -> None:
        """It has failed: said where the reason is another one than the last time, and every minute while it lasts."""
        reason, now = str(error), monotonic()
        if reason != self._told or now >= self._due:
            self._log.warning("%s: %s; trying again", self.what, reason)
            self._told, self._due = reason, now + AGAIN_S

    def over(self) -> None:
        """It has been done."""
        if self._told:
            self._log.info("%s: that is over", self.what)
            self._told = ""
