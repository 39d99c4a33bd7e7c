"""Statements on the jobs' tables, which go by an index however full a table was when they were planned."""

from __future__ import annotations

from toque.store.prepared import Prepared

__all__ = ["prepared"]


def prepared(sql: str, *, is_write: bool = True) -> Prepared:
    """*sql*, for the jobs' tables, which are empty at night and full in the morning."""
    return Prepared(sql, is_write, is_system=True, is_by_index=True)
