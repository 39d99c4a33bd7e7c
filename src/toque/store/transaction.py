"""What one call does with its database: statements, one after the other, on one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from toque.store.prepared import Prepared

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.store.plans import Plans

__all__ = ["ALL", "ENDED", "FAILED", "Build", "RestartInSnapshot", "Transaction"]

Build = Callable[[Iterable[Any]], Any]
"""What turns a driver's rows into a list; it may run in another thread."""

ALL = 0
"""As `rows_max`: every row."""

ENDED = "this Database belongs to a call that has ended; ask for it in the operation that uses it."
FAILED = (
    "a statement of this command failed, which undoes the command as a whole; let its error through, "
    "or write the statement so that it cannot fail (ON CONFLICT, say)."
)


class RestartInSnapshot(BaseException):
    """A query's second statement: the call starts again, this time with every statement in one snapshot.

    A query's first statement runs without BEGIN and COMMIT, because most queries have no second one. A
    BaseException, so that an operation's `except Exception` does not swallow it.
    """


class Transaction(Protocol):
    """The statements of one query (one snapshot, read-only) or one command (all or nothing)."""

    plans: Plans
    context: Context
    """The call that it works for."""

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        """Run it and build from at most *rows_max* rows, 0 for all."""
        ...

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        """Run it for its effect: the number of rows affected."""
        ...

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        """Run it once per row of arguments: the number of rows affected in all."""
        ...

    def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        """Run it and build from a bounded number of rows at a time."""
        ...

    def announce_more(self) -> None:
        """Say that the next statement will not be the last, so that a query begins its snapshot at once."""
        ...
