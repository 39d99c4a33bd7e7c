"""Claiming from a queue with limits: never more than they allow, whoever else claims at the same moment.

On PostgreSQL those who claim from one such queue do it one after the other, under a lock of the transaction: the next
statement then sees what the others have claimed. SQLite has one writer. What runs is counted in the jobs' rows, what
began in the parts of its time. Where keys have limits, a claim looks at some keys after those of the last one, so that
keys take turns and a claim costs the same however much waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from toque.contract.limits import Limits
from toque.messages.jobs.limited_statements import LIMITED
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store
from toque.store.transaction import Transaction

__all__ = ["KEYS_MAX", "Limited"]

KEYS_MAX = 50
"""Keys that one claim looks at: some milliseconds, and as many jobs as a process has slots for, as a rule."""

LOOKS_MAX = 20
"""Claims in a row of which none finds a key with room, before the worker does something else."""

NO_LIMIT = 1_000_000_000

ADOPTED_MAX = 1000


class Limited:
    """One store's queues with limits, as one process claims from them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._statements = LIMITED[store.dialect_name]
        self._next_key: dict[str, str] = {}

    async def claim(self, limits: Limits, room: int, worker: int, names: str, *places: str) -> list[Any]:
        """Rows of at most *room* jobs that begin now."""
        if not limits.is_by_key:
            known = (worker, names, *places)
            return await self._store.command(lambda database: self._claim(database, limits, room, known))
        for _ in range(LOOKS_MAX):
            rows, is_all = await self._store.command(
                lambda database: self._claim_by_key(database, limits, room, worker, names)
            )
            if rows or is_all:
                return rows
        return []

    async def adopt(self, queue: str) -> None:
        """Have the keys of what waits without them count, some of it at a time."""

        async def run(database: Database) -> None:
            await transaction_of(database).execute(self._statements.adopt, (queue, ADOPTED_MAX))

        await self._store.command(run)

    async def _claim(self, database: Database, limits: Limits, room: int, known: Sequence[Any]) -> list[Any]:
        transaction = transaction_of(database)
        await self._lock(transaction, limits.queue)
        if (room := await self._room(transaction, limits, room)) <= 0:
            return []
        rows = await _fetch(transaction, self._statements.claim, limits.queue, room, *known)
        await self._note(transaction, limits, rows)
        return rows

    async def _claim_by_key(
        self, database: Database, limits: Limits, room: int, worker: int, names: str
    ) -> tuple[list[Any], bool]:
        """The rows, and whether all keys were looked at."""
        transaction, queue = transaction_of(database), limits.queue
        await self._lock(transaction, queue)
        if (room := await self._room(transaction, limits, room)) <= 0:
            return [], True
        if not (keys := await self._keys(transaction, queue)):
            return [], True
        of_key = (
            limits.at_once_per_key or NO_LIMIT,
            NO_LIMIT if limits.rate_per_key is None else limits.rate_per_key.count,
            1.0 if limits.rate_per_key is None else limits.rate_per_key.slice_s,
        )
        arguments = (queue, room, worker, names, msgspec.json.encode(keys).decode(), *of_key)
        rows = await _fetch(transaction, self._statements.claim_of, *arguments)
        await self._note(transaction, limits, rows)
        self._next_key[queue] = f"{_last(keys, [row[3] for row in rows])}\x01"
        return rows, len(keys) < KEYS_MAX

    async def _keys(self, transaction: Transaction, queue: str) -> list[str]:
        """Some keys that wait, from the one on whose turn it is, and from the first on again."""
        first = self._next_key.get(queue, "")
        keys = [row[0] for row in await _fetch(transaction, self._statements.keys, queue, first, KEYS_MAX)]
        if first and len(keys) < KEYS_MAX:
            rows = await _fetch(transaction, self._statements.keys, queue, "", KEYS_MAX - len(keys))
            keys += [row[0] for row in rows if row[0] not in keys]
        return keys

    async def _room(self, transaction: Transaction, limits: Limits, room: int) -> int:
        """How many of *room* the limits of the queue as a whole allow.

        Asked before the claim: PostgreSQL plans for the number that is known, and else for a tenth of all.
        """
        if limits.at_once is None and limits.rate is None:
            return room
        count, slice_s = (NO_LIMIT, 1.0) if limits.rate is None else (limits.rate.count, limits.rate.slice_s)
        arguments = (limits.queue, limits.at_once or NO_LIMIT, count, slice_s)
        allowed: int = (await _fetch(transaction, self._statements.room, *arguments))[0][0]
        return min(room, allowed)

    async def _lock(self, transaction: Transaction, queue: str) -> None:
        if self._statements.lock is not None:
            await transaction.fetch(self._statements.lock, (queue,), 0, list)

    async def _note(self, transaction: Transaction, limits: Limits, rows: Sequence[Any]) -> None:
        """Count what begins, in the transaction in which it does."""
        if not rows:
            return
        if limits.rate is not None:
            await transaction.execute(self._statements.note, (limits.queue, "", limits.rate.slice_s, len(rows)))
        if limits.rate_per_key is not None:
            for key, count in sorted(Counter(row[3] for row in rows if row[3]).items()):
                arguments = (limits.queue, key, limits.rate_per_key.slice_s, count)
                await transaction.execute(self._statements.note, arguments)


def _last(keys: Sequence[str], taken: Sequence[str]) -> str:
    """The key that had the last turn: they have one each, in their order, and then the next; or the last of all."""
    turns = Counter(taken)
    return max(keys, key=lambda key: (turns[key], keys.index(key)))


async def _fetch(transaction: Transaction, statement: Prepared, *arguments: Any) -> list[Any]:
    rows: list[Any] = await transaction.fetch(statement, arguments, 0, list)
    return rows
