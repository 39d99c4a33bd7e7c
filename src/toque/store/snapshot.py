"""One snapshot for a query, at no price for a query of one statement.

A single statement reads one state of the database anyway. So a query starts without BEGIN; if it turns out to
have a second statement, it starts again inside a snapshot, and its operation is remembered so that it will not
have to again. That is safe because a query only reads.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable
from typing import Protocol, TypeVar

from toque.call.context import UNCALLED, Context
from toque.contract.operation import Isolation
from toque.store.attempts import ATTEMPTS_MAX, pause_s
from toque.store.observed import database
from toque.store.store import Run, StatementObserver
from toque.store.transaction import Cause, Transaction

__all__ = ["Reading", "Snapshots"]

T = TypeVar("T")

# As many as an app may have; a caller that makes names up must not fill the memory.
OPERATIONS_MAX = 10_000


class Reading(Transaction, Protocol):
    """A query's transaction."""

    @property
    def must_restart(self) -> bool:
        """Whether it was asked for more than a call without a snapshot can give, or met a change."""
        ...

    @property
    def cause(self) -> Cause | None:
        """The change that it met."""
        ...

    async def close(self, error: BaseException | None) -> None:
        """End it and give its connection back."""


class Snapshots:
    """Runs queries, and knows which need a snapshot."""

    def __init__(
        self, begin: Callable[[Context, Isolation | None, bool], Reading], observer: StatementObserver | None
    ) -> None:
        self._begin = begin
        self._observer = observer
        self._operations: set[str] = set()

    async def query(
        self,
        run: Run[T],
        context: Context = UNCALLED,
        isolation: Isolation | None = None,
        *,
        is_repeatable: bool = True,
    ) -> T:
        operation = context.operation
        # What cannot be taken back begins as it must go on; so does what asks for more than the usual.
        needs_snapshot = operation in self._operations or not is_repeatable or isolation is not None
        for attempt in range(1, ATTEMPTS_MAX + 1):
            reading = self._begin(context, isolation, needs_snapshot)
            try:
                result = await run(database(reading, self._observer))
            except BaseException as error:
                await reading.close(error)
                is_last = attempt == ATTEMPTS_MAX or not is_repeatable
                if not reading.must_restart or is_last or isinstance(error, CancelledError):
                    raise
            else:
                await reading.close(None)
                if not reading.must_restart or not is_repeatable:
                    if reading.has_failed and context.reads is not None:
                        context.reads.failed()
                    return result
            if reading.cause is not None:
                await asyncio.sleep(pause_s(attempt))
            elif operation and len(self._operations) < OPERATIONS_MAX:
                self._operations.add(operation)
            needs_snapshot = True
        raise RuntimeError(f"a query asked to be restarted {ATTEMPTS_MAX} times.")
