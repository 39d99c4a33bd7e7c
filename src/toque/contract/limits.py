"""How much of a queue may begin: at once, and in a time; of the queue as a whole and of each key. Plain data."""

from __future__ import annotations

import re

from msgspec import Struct

from toque.contract.schedule import interval_s

__all__ = ["SLICES", "Limits", "Rate", "rate"]

SLICES = 10
"""Into so many parts the period of a rate is divided; what began is counted by part. The part that leaves the period is
counted as a whole until it has left, so a rate is never exceeded in any period, and reached to within a tenth."""

_RATE = re.compile(r"(\d+)\s*/\s*(.+)")


class Rate(Struct, frozen=True):
    """So many in any time of this length."""

    count: int
    period_s: float

    @property
    def slice_s(self) -> float:
        return self.period_s / SLICES


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one queue, kept by all processes together."""

    queue: str
    at_once: int | None = None
    rate: Rate | None = None
    at_once_per_key: int | None = None
    rate_per_key: Rate | None = None

    @property
    def is_by_key(self) -> bool:
        """Whether keys have limits of their own: then they keep no order, and take turns."""
        return self.at_once_per_key is not None or self.rate_per_key is not None


def rate(text: str) -> Rate:
    """`"100/1m"`: at most 100 in any minute. Raises: ValueError where it says nothing of the kind."""
    found = _RATE.fullmatch(text.strip())
    if found is None or int(found[1]) < 1:
        raise ValueError(f"a rate is a number and a time, as in '100/1m'; got {text!r}")
    return Rate(int(found[1]), interval_s(found[2]))


def at_once(number: int | None, name: str) -> int | None:
    """*number*. Raises: ValueError where it lets nothing begin."""
    if number is not None and number < 1:
        raise ValueError(f"{name} is 1 or more, got {number}; pause a queue with `toque jobs pause`")
    return number
