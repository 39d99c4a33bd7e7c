"""Histories of reads and writes, and what is wrong with them: held against the promises of docs/guides/caching.md.

A register is raised by one writer after the other and never lowered, so the order of its values is that of its commits.
All times are those of one monotonic clock, the clients'.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["BOUND_S", "History", "Read", "Write"]

BOUND_S = 1.0
"""What an answer may miss of others' commits (`cache.bound_s`)."""


class Write(NamedTuple):
    register: int
    value: int
    sent: float
    acknowledged: float | None = None
    """None where nobody knows whether it was done."""


class Read(NamedTuple):
    register: int
    value: int
    sent: float
    answered: float
    is_strict: bool = False
    own: int = 0
    """The value that the caller had written before, if he brought the mark of that."""


class _Raised:
    """The highest value by a moment, of values that were sent, or acknowledged, at moments."""

    def __init__(self, steps: Sequence[tuple[float, int]]) -> None:
        ordered = sorted(steps)
        self._moments = [moment for moment, _ in ordered]
        self._highest = list(accumulate((value for _, value in ordered), max))

    def before(self, moment: float) -> int:
        at = bisect_left(self._moments, moment)
        return self._highest[at - 1] if at else 0


class History:
    def __init__(self) -> None:
        self.writes: dict[int, list[Write]] = defaultdict(list)
        self.reads: list[Read] = []

    def write(self, write: Write) -> None:
        self.writes[write.register].append(write)

    def violations(self) -> list[str]:
        """A sentence for each answer that breaks a promise."""
        bounds = {
            register: (
                _Raised([(w.acknowledged, w.value) for w in writes if w.acknowledged is not None]),
                _Raised([(w.sent, w.value) for w in writes]),
            )
            for register, writes in self.writes.items()
        }
        nothing = _Raised([])
        return [found for read in self.reads for found in _of(read, *bounds.get(read.register, (nothing, nothing)))]


def _of(read: Read, acknowledged: _Raised, sent: _Raised) -> Iterator[str]:
    since = read.sent if read.is_strict else read.sent - BOUND_S
    least, most = acknowledged.before(since), sent.before(read.answered)
    if read.value < least:
        yield f"stale: {read}, but {least} was acknowledged before {since:.3f}"
    if read.value < read.own:
        yield f"not his own: {read}"
    if read.value > most:
        yield f"from nowhere: {read}, and nobody had asked for more than {most}"
