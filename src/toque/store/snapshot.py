"""One snapshot for a query, at no price for a query of one statement.

A single statement reads one state of the database anyway. So a query starts without BEGIN; if it turns out to
have a second statement, it starts again inside a snapshot, and its operation is remembered so that it will not
have to again. That is safe because a query only reads.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Protocol, TypeVar

from toque.call.context import Context
from toque.store.observed import database
from toque.store.store import Run, StatementObserver
from toque.store.transaction import Transaction

__all__ = ["Reading", "Snapshots"]

T = TypeVar("T")

# As many as an app may have; a caller that makes names up must not fill the memory.
OPERATIONS_MAX = 10_000


class Reading(Transaction, Protocol):
    """A query's transaction."""

    must_restart: bool
    """Whether it was asked for more than a call without a snapshot can give."""

    async def close(self, error: BaseException | None) -> None:
        """End it and give its connection back."""


class Snapshots:
    """Runs queries, and knows which need a snapshot."""

    def __init__(self, begin: Callable[[Context, bool], Reading], observer: StatementObserver | None) -> None:
        self._begin = begin
        self._observer = observer
        self._operations: set[str] = set()

    async def query(self, run: Run[T], context: Context) -> T:
        operation = context.operation
        reading = self._begin(context, operation in self._operations)
        for _ in range(2):
            try:
                result = await run(database(reading, self._observer))
            except BaseException as error:
                await reading.close(error)
                if not reading.must_restart or isinstance(error, CancelledError):
                    raise
            else:
                await reading.close(None)
                if not reading.must_restart:
                    return result
            if operation and len(self._operations) < OPERATIONS_MAX:
                self._operations.add(operation)
            reading = self._begin(context, True)
        raise RuntimeError("a query asked to be restarted twice, which a snapshot rules out.")
