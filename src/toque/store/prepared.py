"""SQL text that is ready for a driver, and what is known about it."""

from __future__ import annotations

from typing import Any

__all__ = ["BY_INDEX", "Prepared"]

BY_INDEX = ("enable_seqscan", "enable_bitmapscan", "enable_sort", "jit")
"""Switched off on PostgreSQL, they have it read from an index, in the order of that. What can be read in no other way
is read all the same, but before PostgreSQL 18 at a price that would have the plan compiled, which takes longer."""


class Prepared:
    """One SQL text. A store may keep what it learns about the text in `lane`."""

    __slots__ = (
        "is_by_index",
        "is_guarded",
        "is_sensitive",
        "is_system",
        "is_write",
        "lane",
        "sql",
        "tables",
        "walled",
    )

    def __init__(
        self,
        sql: str,
        is_write: bool = False,
        tables: tuple[Any, ...] = (),
        *,
        is_system: bool = False,
        is_by_index: bool = False,
    ) -> None:
        self.sql = sql
        self.is_write = is_write
        self.tables = tables
        """The tables it writes to, for naming the constraint that a change broke."""
        self.is_system = is_system
        """Whether the app runs it for itself, so that every row is open to it."""
        self.is_by_index = is_by_index
        """Whether PostgreSQL is to go by an index whatever it knows of the tables, where it opens a transaction: a plan
        that was made while a table was empty, and is kept, reads all of it when it has filled."""
        self.is_guarded = False
        """Whether a guarded compiler wrote it, which has put the rules in."""
        self.is_sensitive: bool | None = None
        """Whether it can meet a table whose rules the database enforces too; None until somebody has looked."""
        self.walled: str | None = None
        """The text that SQLite runs behind its wall; None until somebody has looked."""
        self.lane = 0
        """Where SQLite runs it; 0 until somebody has looked (`sqlite_plan`)."""

    def written(self, sql: str) -> Prepared:
        """The same statement with another text: its lists written out."""
        prepared = Prepared(sql, self.is_write, self.tables, is_system=self.is_system, is_by_index=self.is_by_index)
        prepared.is_guarded = self.is_guarded
        return prepared
