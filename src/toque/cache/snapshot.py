"""A state of the database, by the transactions that are in it."""

from __future__ import annotations

from msgspec import Struct

from toque.call.context import Token

__all__ = ["Snapshot", "Token"]


class Snapshot(Struct, frozen=True):
    """Which transactions a look saw (PostgreSQL's manual, table 9.83 "Snapshot Components").

    On SQLite, where commits come one after the other, a position stands for all transactions up to it.
    """

    xmin: int
    """All transactions below had ended."""
    xmax: int
    """No transaction from here on had ended."""
    xip: frozenset[int] = frozenset()
    """Those between that had not."""

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """PostgreSQL's own form, `xmin:xmax:xip,xip`."""
        xmin, xmax, xip = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, xip.split(","))) if xip else frozenset())

    @classmethod
    def up_to(cls, number: int) -> Snapshot:
        """That of all transactions up to *number*."""
        return cls(number + 1, number + 1)

    def includes(self, other: Snapshot) -> bool:
        """Whether all that *other* sees is in it. False in doubt: where *other* has the higher `xmax`, what ended up to
        there may all have been rolled back."""
        return other.xmax <= self.xmax and all(number >= other.xmax or number in other.xip for number in self.xip)

    def sees(self, number: int) -> bool:
        """Whether the transaction *number*, which was acknowledged, is in it."""
        return number < self.xmax and number not in self.xip
