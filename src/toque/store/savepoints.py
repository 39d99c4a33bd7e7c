"""`db.savepoint()`: a part of a command that may fail by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from toque.store.transaction import READS, Transaction

__all__ = ["NOT_INNERMOST", "savepoint"]

NOT_INNERMOST = (
    "the savepoints of a command lie inside one another, and this one ended before one that began later; "
    "a command is one line of statements, so open them one after the other and not in tasks beside each other."
)

_SWALLOWED = (
    "a statement failed inside this savepoint and its error did not leave it, so what it did is undone; "
    "catch the error outside of `async with db.savepoint():`."
)


@asynccontextmanager
async def savepoint(transaction: Transaction) -> AsyncIterator[None]:
    """What *transaction* does inside is undone by an error that leaves it, and only that."""
    if not transaction.is_command:
        raise PermissionError(READS)
    depth = await transaction.set_savepoint()
    waiting, attached = len(transaction.after), len(transaction.attached)
    try:
        yield
        if transaction.has_failed:
            raise RuntimeError(_SWALLOWED)
    except Exception:
        del transaction.after[waiting:]
        del transaction.attached[attached:]
        await transaction.end_savepoint(depth, is_kept=False)
        raise
    except BaseException:
        # A cancelled statement may still be running: nobody can tell what there would be to undo.
        transaction.give_up()
        raise
    await transaction.end_savepoint(depth, is_kept=True)
