"""What every operation does, in figures that cost almost nothing."""

from __future__ import annotations

from asyncio import CancelledError
from bisect import bisect_left
from collections.abc import Callable

from toque.call.context import Context
from toque.contract.errors import Error

__all__ = [
    "BOUNDS_S",
    "CANCELLED",
    "INTERNAL",
    "OK",
    "CallerLeft",
    "Figures",
    "Report",
    "code_of",
    "for_the_call",
    "silent",
]

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram: those of Prometheus' Go client (5 ms to 10 s), and two more below, because
most calls here end within 5 ms. What takes longer falls into one last bucket."""


class CallerLeft(Exception):
    """The caller went away; there is nobody to answer."""


OK = "ok"
CANCELLED = "cancelled"
"""The outcome of a call whose caller left, or whose server stopped."""
INTERNAL = "internal"

Report = Callable[[Context, str, float, BaseException | None], None]
"""Told of a call that has ended: its context, its outcome's code, how many seconds it took, and its error."""


class Figures:
    """The live figures of one operation in one worker.

    The event loop is their only writer, so no lock is taken. Counts only grow; whoever wants a rate takes the
    difference of two looks.
    """

    __slots__ = ("buckets", "failures", "in_flight", "kind", "operation", "seconds")

    def __init__(self, operation: str, kind: str) -> None:
        self.operation = operation
        self.kind = kind
        self.in_flight = 0
        self.failures: dict[str, int] = {}
        """How many calls did not end well, by outcome: `cancelled`, or the code of their error."""
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        """How many calls took at most the bound at the same place, and longer than the one before it."""
        self.seconds = 0.0

    @property
    def calls(self) -> int:
        """All calls that have ended."""
        return sum(self.buckets)

    @property
    def codes(self) -> dict[str, int]:
        """How many calls had which outcome: `ok`, `cancelled`, or the code of their error."""
        return {OK: self.calls - sum(self.failures.values()), **self.failures}

    def record(self, code: str, seconds: float) -> None:
        """Count a call that ended with *code* after *seconds*."""
        if code is not OK and code != OK:
            self.failures[code] = self.failures.get(code, 0) + 1
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


def silent(_context: Context, _code: str, _seconds: float, _error: BaseException | None) -> None:
    """Tells nobody."""


def for_the_call(error: BaseException) -> RuntimeError:
    """What to raise instead of *error*, which asyncio would hand on to the event loop and end the process with, or
    could not hand on at all."""
    failure = RuntimeError(f"the function raised {type(error).__name__}, which ends this call and nothing else")
    failure.__cause__ = error
    return failure


def code_of(error: BaseException) -> str:
    """The outcome of a call that ended with *error*."""
    if isinstance(error, Error):
        return error.code
    return CANCELLED if isinstance(error, CancelledError | CallerLeft | GeneratorExit) else INTERNAL
