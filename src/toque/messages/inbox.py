"""The policy that lets a handler's effects happen once: a row for each event and consumer, in the same transaction.

On PostgreSQL the row comes first: whoever comes second waits for the first one's transaction, and finds it taken. On
SQLite a handler would keep everybody from writing from its first statement on, so there the row comes with the commit;
two owners of one consumer, which might come at once, there are not (the kernel has the lock).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from toque.contract.errors import DeadlineExceeded
from toque.log.append import DAY_S
from toque.log.entry import Entry
from toque.log.event_table import SLOTS
from toque.messages.dialects import both
from toque.store.closing import Session
from toque.store.database import Database, transaction_of
from toque.store.store import Store

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler

__all__ = ["Inbox", "Taken", "slot_of_id"]

_INSERT = both(
    "INSERT INTO toque.inbox (slot, consumer, event) VALUES ($1, $2, $3::text::uuid) ON CONFLICT DO NOTHING", True
)
_KNOWN = both("SELECT event FROM toque.inbox WHERE consumer = $1 AND slot = $2 AND CAST(event AS text) IN {each $3}")


class Taken(Exception):
    """The event was handled already, and what was done for it now is undone."""


class Inbox:
    """What the consumers of one store have handled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dialect = store.dialect_name
        self.numbers: dict[str, int] = {}
        """The consumers that this process owns or owned, by name."""

    def stage(self, call: Handler) -> Handler:
        """*call* for each event and consumer once."""

        async def once(context: Context, arguments: Arguments) -> Any:
            delivery, database = context.delivery, context.database
            if delivery is None or delivery.consumer not in self.numbers:
                return await call(context, arguments)
            assert database is not None, "the transact policy stands around this one"
            if not await self.claim(database, self.numbers[delivery.consumer], UUID(delivery.id)):
                return None
            value = await call(context, arguments)
            if context.stopped is not None:
                # It took no notice of its stop. What it did is not kept: somebody else may be at it by now.
                raise DeadlineExceeded("the handler went on after its deadline, and is undone")
            return value

        return once

    async def claim(self, database: Database, consumer: int, event: UUID) -> bool:
        """Have *event* handled if, and only if, the transaction of *database* commits: False where it was already."""
        row = (slot_of_id(event), consumer, str(event))
        if self._dialect == "sqlite":
            transaction_of(database).attached.append((_ATTACHED, row))
            return True
        return await transaction_of(database).execute(_INSERT[self._dialect], row) == 1

    async def known(self, consumer: int, entries: Sequence[Entry]) -> set[UUID]:
        """Which of *entries* it has handled."""
        by_slot: dict[int, list[str]] = {}
        for entry in entries:
            by_slot.setdefault(slot_of_id(entry.id), []).append(str(entry.id))

        async def look(database: Database) -> set[UUID]:
            found: set[UUID] = set()
            for slot, ids in by_slot.items():
                arguments = (consumer, slot, msgspec.json.encode(ids).decode())
                rows = await transaction_of(database).fetch(_KNOWN[self._dialect], arguments, 0, list)
                found.update(UUID(str(row[0])) for row in rows)
            return found

        return await self._store.query(look)


def slot_of_id(id: UUID) -> int:
    """The part of the inbox for an event: that of the day in its id (RFC 9562, 5.7), which never changes."""
    return (id.int >> 80) // 1000 // DAY_S % SLOTS


class _Attached:
    """See `store.closing.Closing`."""

    def sql(self, rows: Sequence[Sequence[Any]], session: Session) -> str:
        raise NotImplementedError("on PostgreSQL the row comes first")

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            if connection.execute(_INSERT["sqlite"].sql, row).rowcount != 1:
                raise Taken


_ATTACHED = _Attached()
