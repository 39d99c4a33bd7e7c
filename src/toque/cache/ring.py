"""The last changes that were applied, by position: what a query that runs meanwhile is checked against."""

from __future__ import annotations

from collections import deque
from itertools import islice

from toque.cache import rules
from toque.cache.change import Change, Overlapping
from toque.cache.snapshot import Snapshot

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
        self.since: Snapshot | None = None
        """What all of this began after: whatever was committed since is remembered, or was forgotten."""
        self._forgotten = 0
        """The highest transaction of which something was forgotten since then."""
        self._changes: deque[Change] = deque()
        self._length_max = length_max

    def append(self, change: Change) -> int:
        """Give *change* the next position: that."""
        self.position += 1
        self._changes.append(change)
        if len(self._changes) > self._length_max:
            self._forgotten = max(self._forgotten, self._changes.popleft().number)
            self.low += 1
        return self.position

    def flush(self, since: Snapshot | None = None) -> int:
        """Forget all, as if everything had changed: the position of that.

        Args:
            since: that after which everything is told from now on.
        """
        self._changes.clear()
        self.since, self._forgotten = since, 0
        self.position += 1
        self.low = self.position
        return self.position

    def holds(self, read: Overlapping, at: Snapshot) -> bool:
        """Whether what was read as of *at* is as it was: nothing that was applied and is not in *at* overlaps *read*.
        False where that is not known any more."""
        if self.since is None or not rules.reaches_back(self.since, self._forgotten, at):
            return False
        return not any(rules.is_after(at, change.number) and read.overlaps(change) for change in self._changes)

    def first_overlap(self, read: Overlapping, after: int) -> int | None:
        """The position of the first change after position *after* that overlaps *read*; None where there is none."""
        if not rules.reaches(self.low, after):
            return after + 1
        start = max(after - self.low, 0)
        changes = islice(self._changes, start, None)
        return next((after + n for n, change in enumerate(changes, 1) if read.overlaps(change)), None)
