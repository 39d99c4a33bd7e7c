"""SQL text that is ready for a driver, and what is known about it."""

from __future__ import annotations

from typing import Any

__all__ = ["Prepared"]


class Prepared:
    """One SQL text. A store may keep what it learns about the text in `lane`."""

    __slots__ = ("is_write", "lane", "sql", "tables")

    def __init__(self, sql: str, is_write: bool = False, tables: tuple[Any, ...] = ()) -> None:
        self.sql = sql
        self.is_write = is_write
        self.tables = tables
        """The tables it writes to, for naming the constraint that a change broke."""
        self.lane = 0
        """Where SQLite runs it; 0 until somebody has looked (`sqlite_plan`)."""
