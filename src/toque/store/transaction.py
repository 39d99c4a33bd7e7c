"""What one call does with its database: statements, one after the other, on one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from toque.store.closing import Attached
from toque.store.prepared import Prepared

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.store.plans import Plans

__all__ = ["ALL", "ENDED", "FAILED", "READS", "AfterCommit", "Build", "Cause", "RestartInSnapshot", "Transaction"]

Build = Callable[[Iterable[Any]], Any]
"""What turns a driver's rows into a list; it may run in another thread."""

AfterCommit = Callable[[], Awaitable[object] | object]
"""What is to happen once a command is committed."""

Cause = Literal["busy", "connection lost", "deadlock", "schema changed", "serialisation", "undone"]
"""Why nothing of a transaction was kept although the command itself did nothing wrong: it may be run again."""

ALL = 0
"""As `rows_max`: every row."""

ENDED = "this Database belongs to a call that has ended; ask for it in the operation that uses it."
READS = "a query only reads, so it has nothing to undo or to commit; make the operation a command."
FAILED = (
    "a statement of this command failed, which undoes the command as a whole; let its error through, "
    "put what may fail into `async with db.savepoint():`, or write it so that it cannot fail (ON CONFLICT, say)."
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
    after: list[AfterCommit]
    """What waits for the commit of a command."""
    attached: list[Attached]
    """What is sent together with that commit."""

    @property
    def is_command(self) -> bool:
        """Whether it writes; a query has nothing to commit or to undo."""
        ...

    @property
    def has_failed(self) -> bool:
        """Whether a statement failed and was not undone: nothing more can be run, and nothing is kept."""
        ...

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

    async def set_savepoint(self) -> int:
        """Mark what was done so far; returns the depth at which savepoints are open now."""
        ...

    async def end_savepoint(self, depth: int, *, is_kept: bool) -> None:
        """End the innermost savepoint, which is *depth*, and keep or undo what was done since."""
        ...

    def give_up(self) -> None:
        """Let nothing more be run and nothing be kept."""
        ...

    async def close(self, error: BaseException | None) -> None:
        """End it and give its connection back; what is not committed is undone."""
        ...
