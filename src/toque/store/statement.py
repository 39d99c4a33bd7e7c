"""One statement that was run: what an observer hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["Statement", "StatementObserver"]


class Statement(NamedTuple):
    """A statement that ended, well or not."""

    sql: str
    is_write: bool
    arguments: Sequence[Any]
    """Its values, which may be secrets; for one that was run once per row, the rows of values."""
    context: Context
    """The call that ran it."""
    started_ns: int
    """When it started and ended, in nanoseconds since the epoch."""
    ended_ns: int
    rows: int
    """How many rows it gave or changed."""

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


StatementObserver = Callable[[Statement], None]
"""Hears of every statement that ended. It is called in the event loop, so it must not wait."""
