"""Histories of reads and writes, and what is wrong with them: held against the promises of docs/guides/caching.md.

A register is raised by one writer after the other and never lowered, so the order of its values is that of its commits.
All times are those of one monotonic clock, the clients'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
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


class History:
    def __init__(self) -> None:
        self.writes: dict[int, list[Write]] = defaultdict(list)
        self.reads: list[Read] = []

    def write(self, write: Write) -> None:
        self.writes[write.register].append(write)

    def violations(self) -> list[str]:
        """A sentence for each answer that breaks a promise."""
        return [found for read in self.reads for found in self._of(read)]

    def _of(self, read: Read) -> Iterator[str]:
        since = read.sent if read.is_strict else read.sent - BOUND_S
        writes = self.writes[read.register]
        least = max((w.value for w in writes if w.acknowledged is not None and w.acknowledged < since), default=0)
        most = max((w.value for w in writes if w.sent < read.answered), default=0)
        if read.value < least:
            yield f"stale: {read}, but {least} was acknowledged before {since:.3f}"
        if read.value < read.own:
            yield f"not his own: {read}"
        if read.value > most:
            yield f"from nowhere: {read}, and nobody had asked for more than {most}"
