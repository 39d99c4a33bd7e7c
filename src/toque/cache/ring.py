"""The last changes that were applied, by position: what a query that runs meanwhile is checked against."""

from __future__ import annotations

from collections import deque
from itertools import islice

from toque.cache import rules
from toque.cache.change import Change, Overlapping

__all__ = ["RING_MAX", "Ring"]

RING_MAX = 8192
"""Changes remembered. A query during which more are applied is answered and not kept; at 2 000 commits a second, which
is what one PostgreSQL here takes, that is one of four seconds."""


class Ring:
    """Changes in the order in which they were applied."""

    def __init__(self, length_max: int = RING_MAX) -> None:
        self.position = 0
        """That of the last change."""
        self.low = 0
        """What was applied up to here is forgotten."""
        self._changes: deque[Change] = deque()
        self._length_max = length_max

    def append(self, change: Change) -> int:
        """Give *change* the next position: that."""
        self.position += 1
        self._changes.append(change)
        if len(self._changes) > self._length_max:
            self._changes.popleft()
            self.low += 1
        return self.position

    def flush(self) -> int:
        """Forget all, as if everything had changed: the position of that."""
        self._changes.clear()
        self.position += 1
        self.low = self.position
        return self.position

    def first_overlap(self, read: Overlapping, after: int) -> int | None:
        """The position of the first change after position *after* that overlaps *read*; None where there is none."""
        if not rules.reaches(self.low, after):
            return after + 1
        start = max(after - self.low, 0)
        changes = islice(self._changes, start, None)
        return next((after + n for n, change in enumerate(changes, 1) if read.overlaps(change)), None)
