"""How long is waited before a message is tried again."""

from __future__ import annotations

from random import uniform

__all__ = ["CRASHES_MAX", "lack_s", "pause_s"]

FIRST_S, LONGEST_S = 1.0, 600.0

CRASHES_MAX = 2
"""One end of a process while a message was the only one at work may be chance; two are not."""

LACK_S, LACK_MAX_S = 0.05, 2.0


def pause_s(attempt: int) -> float:
    """Seconds between *attempt*, which failed, and the next one: twice as many each time, with full jitter (Brooker,
    "Exponential Backoff and Jitter", AWS 2015), so that what failed together does not come again together."""
    return uniform(0, min(LONGEST_S, FIRST_S * 2 ** min(attempt - 1, 30)))  # noqa: S311 - to spread, not to hide


def lack_s(times: int) -> float:
    """Seconds until something is tried again that the app itself had no room or no database for, *times* by now."""
    return uniform(LACK_S / 2, min(LACK_MAX_S, LACK_S * 2 ** min(times, 30)))  # noqa: S311 - as above
