"""What became of one try to deliver a webhook, and what follows from it. Pure functions and tables.

Source: Standard Webhooks 1.0, "Deliverability and reliability" and "Delivery success and failure".
"""

from __future__ import annotations

import random
from enum import StrEnum

from msgspec import Struct

__all__ = ["DELAYS_S", "KEPT_BYTES_MAX", "Health", "Outcome", "Verdict", "after", "next_try_s", "verdict_of"]

DELAYS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before the second try, the third, ...: the standard's example, which reaches over three days."""

WAIT_S_MAX = 86_400.0
"""Longest wait that a receiver can ask for: the schedule's own longest."""

KEPT_BYTES_MAX = 1024
"""How much of an answer's body is read and kept: an error message, and no more."""


class Verdict(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    FAILED = "failed"
    THROTTLED = "throttled"
    """The receiver has too much to do: nothing else goes there for a while either."""
    GONE = "gone"
    """The receiver wants nothing more, ever."""


_BY_STATUS = {
    410: Verdict.GONE,
    429: Verdict.THROTTLED,
    502: Verdict.THROTTLED,
    503: Verdict.THROTTLED,
    504: Verdict.THROTTLED,
}


class Outcome(Struct, frozen=True):
    """How one try ended."""

    verdict: Verdict
    status: int | None = None
    """The HTTP status; None where there was no answer."""
    reason: str = ""
    """What a reader of the list of failures sees: the answer's body, or why there was none."""
    retry_after_s: float | None = None
    """What the receiver asked for."""


class Health(Struct, frozen=True):
    """How an endpoint has been doing."""

    failing_since: float | None = None
    """When it began to fail, seconds since 1970; None where its last answer was good."""
    paused_until: float = 0.0


def verdict_of(status: int) -> Verdict:
    """What *status* means. A redirect is a failure: whoever moves says so where the endpoint is kept."""
    return Verdict.DELIVERED if 200 <= status <= 299 else _BY_STATUS.get(status, Verdict.FAILED)


def next_try_s(tried: int, outcome: Outcome, chance: float | None = None) -> float | None:
    """Seconds until the next try after *tried* of them; None where there is none.

    Each delay is between half and one and a half of the schedule's, evenly: the mean is the schedule's, tries that
    failed together spread over as much time as they waited, and none comes at once, as a delay from zero on would.

    Args:
        chance: 0 to 1, drawn unless given.
    """
    if tried > len(DELAYS_S) or outcome.verdict is Verdict.GONE:
        return None
    chance = random.random() if chance is None else chance  # noqa: S311 - jitter guards nothing
    return max(DELAYS_S[tried - 1] * (0.5 + chance), min(outcome.retry_after_s or 0.0, WAIT_S_MAX))


def after(health: Health, outcome: Outcome, now: float, *, pause_s: float, failing_s_max: float) -> tuple[Health, str]:
    """How an endpoint is doing after *outcome*, and why it is to be disabled; empty where it is not.

    Args:
        pause_s: how long nothing goes to an endpoint that throttles and does not say how long.
        failing_s_max: how long an endpoint may fail, without one good answer.
    """
    if outcome.verdict is Verdict.DELIVERED:
        return Health(), ""
    if outcome.verdict is Verdict.GONE:
        return health, "it answered 410 Gone"
    since = now if health.failing_since is None else health.failing_since
    paused = health.paused_until
    if outcome.verdict is Verdict.THROTTLED:
        paused = max(paused, now + min(pause_s if outcome.retry_after_s is None else outcome.retry_after_s, WAIT_S_MAX))
    why = f"it has failed for {(now - since) / 86_400:.1f} days" if now - since >= failing_s_max else ""
    return Health(since, paused), why
