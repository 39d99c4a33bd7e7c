"""What a job's author decides: its queue, and what becomes of it when it fails. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from random import uniform

from msgspec import Struct

from toque.contract.schedule import Schedule

__all__ = ["DEFAULT_QUEUE", "Again", "GiveUp", "JobRules", "Retries"]

DEFAULT_QUEUE = "default"

ATTEMPTS_MAX = 20
"""With the pauses below, twenty attempts take about five hours: whatever a failing job waits for is mended by then, or
needs somebody who looks."""

FIRST_S, LONGEST_S = 1.0, 3600.0

KEEP_RESULT_S = 24 * 3600.0
"""A day, like the answers under idempotency keys: whoever asks for it does so soon."""

LATER_RATIO = 0.1
"""How much later than its schedule says a job may come again, so that those that failed together do not meet again."""


class Retries(Struct, frozen=True, kw_only=True):
    """When a job that failed is tried again, and when no more.

    The pause is a random part of one that doubles each time ("full jitter"; Brooker, "Exponential Backoff and Jitter",
    AWS 2015), or as `pauses_s` says.
    """

    attempts_max: int = ATTEMPTS_MAX
    """How often it is tried in all; it is a dead letter after that."""
    first_s: float = FIRST_S
    """The first pause is at most so long, each next one at most twice as long as the one before."""
    longest_s: float = LONGEST_S
    """Whereas no pause is longer than this."""
    pauses_s: tuple[float, ...] = ()
    """A schedule of one's own instead: the pause after each attempt, the last of them from then on."""
    by_error: Mapping[type[Exception], Retries] = {}
    """Others for some errors: the nearest class of the error's decides."""

    def of(self, error: BaseException) -> Retries:
        """The retries after *error*."""
        found = next((tp for tp in type(error).__mro__ if tp in self.by_error), None)
        return self if found is None else self.by_error[found]

    def pause_s(self, failures: int) -> float | None:
        """How long to wait after so many *failures*, from 1 on; None where that was the last attempt."""
        if failures >= self.attempts_max:
            return None
        if self.pauses_s:
            pause = self.pauses_s[min(failures, len(self.pauses_s)) - 1]
            return pause + uniform(0, pause * LATER_RATIO)  # noqa: S311 - to spread, not to hide
        # An exponent that is bounded: a float has no room for 2 ** 2000.
        return uniform(0, min(self.first_s * 2.0 ** min(failures - 1, 60), self.longest_s))  # noqa: S311


class JobRules(Struct, frozen=True, kw_only=True):
    """What a job's declaration says beside what it says of every operation."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    retries: Retries = Retries()
    keep_result_s: float = KEEP_RESULT_S
    schedule: Schedule | None = None
    """When it begins by itself."""


class Again(Exception):
    """Raised by a job that wants to come again: after *delay*, whatever its retries say.

    Args:
        counts: whether this was one of its attempts; else it may come again for ever.
    """

    def __init__(self, delay: float | timedelta, why: str = "", *, counts: bool = True) -> None:
        super().__init__(why)
        self.delay_s = delay.total_seconds() if isinstance(delay, timedelta) else delay
        self.counts = counts


class GiveUp(Exception):
    """Raised by a job that no further attempt can help: it is a dead letter at once."""
