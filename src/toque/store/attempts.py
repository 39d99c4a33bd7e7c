"""A command that met another one is run again, as a whole, in a new transaction.

A deadlock, a serialisation failure, a plan that the schema has left behind: nothing of the transaction was kept, and
the command itself did nothing wrong. Only the whole function can decide anew on what it reads now (PostgreSQL's
manual, 13.5 "Serialization Failure Handling").
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable
from random import uniform
from typing import Protocol, TypeVar

from toque.call.context import UNCALLED, Context
from toque.contract.operation import Isolation
from toque.store import after_commit
from toque.store.observed import database
from toque.store.store import Run, StatementObserver
from toque.store.transaction import Cause, Transaction

__all__ = ["ATTEMPTS_MAX", "Attempts", "OnCommit", "Writing", "pause_s"]

T = TypeVar("T")

ATTEMPTS_MAX = 12
"""Of commands that all change one row at REPEATABLE READ or above, one in a round gets through. Of twenty that came at
once, on ten connections, the last needed six to eight attempts (fifteen measurements): half as many again."""

PAUSE_S, PAUSE_MAX_S = 0.004, 0.25
"""The first pause is the time of a transaction or two, and each may be twice as long as the one before, with full
jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015), up to a quarter of a second: all of them together stay
within a usual deadline."""


OnCommit = Callable[[Context, int], None]
"""Hears whose command was committed, and the number of its transaction."""


class Writing(Transaction, Protocol):
    """A command's transaction."""

    cause: Cause | None
    """Why it may be run again; None where it may not."""

    @property
    def written(self) -> int | None:
        """Once it is committed: the number of the transaction where it has one, else 0; None where it wrote nothing."""
        ...

    async def commit(self) -> None:
        """Keep what it did. Raises where it cannot be kept, or where nobody knows whether it was."""

    async def close(self, error: BaseException | None) -> None:
        """End it and give its connection back; what is not committed is undone."""


class Attempts:
    """Runs commands, again where that is safe and worth it."""

    def __init__(
        self, begin: Callable[[Context, Isolation | None], Writing], observer: StatementObserver | None
    ) -> None:
        self.repeats: Counter[str] = Counter()
        """How often a command was run again, by cause."""
        self.on_commit: list[OnCommit] = []
        """Told of each that wrote, as soon as it is committed and before anybody hears of it; they do not wait."""
        self._begin = begin
        self._observer = observer

    async def command(
        self,
        run: Run[T],
        context: Context = UNCALLED,
        isolation: Isolation | None = None,
        *,
        is_repeatable: bool = True,
    ) -> T:
        attempts_max = ATTEMPTS_MAX if is_repeatable else 1
        for attempt in range(1, attempts_max + 1):
            writing = self._begin(context, isolation)
            try:
                result = await run(database(writing, self._observer))
                await writing.commit()
            except BaseException as error:
                await writing.close(error)
                pause = pause_s(attempt)
                is_over = attempt == attempts_max or pause >= context.remaining_s
                if writing.cause is None or is_over or isinstance(error, CancelledError):
                    raise
                self.repeats[writing.cause] += 1
            else:
                if self.on_commit and (written := writing.written) is not None:
                    for hear in self.on_commit:
                        hear(context, written)
                if writing.after:
                    await after_commit.run_all(writing.after, context)
                return result
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def pause_s(attempt: int) -> float:
    """How long to wait before the next attempt, so that those who met do not meet again."""
    return uniform(0, min(PAUSE_S * 2**attempt, PAUSE_MAX_S))  # noqa: S311 - to spread, not to hide
