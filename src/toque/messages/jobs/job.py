"""One start of a job, and what became of it."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

__all__ = ["SUSPECT_FROM", "Outcome", "Start"]

SUSPECT_FROM = 2
"""Once a process ended while a job ran is chance, and jobs go on together. After twice it is begun where it can be told
from the others: in the company of such alone as were there at no end."""


class Start(Struct, frozen=True):
    """A job that was claimed: this start of it, and no other, may end it."""

    id: UUID
    pos: int
    name: str
    key: str
    priority: int
    attempt: int
    """How often it was started, this time included."""
    crashes: int
    """How many of these starts ended with the process."""
    fence: int
    headers: dict[str, str]
    data: bytes
    is_cancelled: bool
    at: float
    """When it was enqueued, in seconds since 1970."""
    waited_s: float
    """Since it might have begun."""

    @property
    def is_suspect(self) -> bool:
        """Whether it has to be known that it, and no other, ended the process, should it end once more."""
        return self.crashes >= SUSPECT_FROM

    @property
    def failures_before(self) -> int:
        """How many starts ended with an error."""
        return self.attempt - 1 - self.crashes


class Outcome(Struct, frozen=True, kw_only=True):
    """What is to be written about one start."""

    id: str
    fence: int
    outcome: str = "done"
    result: str | None = None
    """JSON."""
    keep: float = 0.0
    """Seconds for which the result is kept; 0: not at all."""
    pause: float = 0.0
    refund: int = 0
    """1 where the start does not count."""
    crash: int = 0
    error: str = ""
    reason: str = ""
