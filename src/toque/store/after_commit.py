"""`db.after_commit(...)`: what happens once, when a command is kept, and before its caller hears of it."""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError

from toque.call.context import Context
from toque.store.transaction import READS, AfterCommit, Transaction

__all__ = ["run_all", "wait"]

log = logging.getLogger("toque.store")

WAITING_MAX = 1000
"""Functions of one command that wait for its commit: a round number far above what an author writes down, and
below what a loop over rows would gather. One function can do for many rows."""


def wait(transaction: Transaction, function: AfterCommit) -> None:
    """Have *function* run after the commit of *transaction*, and not at all without one."""
    if not transaction.is_command:
        raise PermissionError(READS)
    if len(transaction.after) >= WAITING_MAX:
        raise RuntimeError(f"{WAITING_MAX} functions wait for this commit; let one of them do for all rows.")
    transaction.after.append(function)


async def run_all(functions: list[AfterCommit], context: Context) -> None:
    """Run *functions* one after the other. The command is committed: no failure of theirs may say that it is not."""
    for function in functions:
        try:
            result = function()
            if result is not None and inspect.isawaitable(result):
                await result
        except CancelledError:
            # Stopped at the deadline, or because the caller has left: the change stands all the same. Any other
            # cancellation is that of the task itself.
            if context.stopped is None:
                raise
            log.warning("%s was stopped while it ran what waits for its commit: %s", context.operation, context.stopped)
            return
        except Exception:
            log.exception("%s is committed, but what waited for its commit failed", context.operation)
