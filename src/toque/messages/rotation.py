"""Forgetting: events that are old and that every consumer has passed, and the inbox's rows for them.

On PostgreSQL the part of a day is emptied as a whole by TRUNCATE, which gets its lock at once or tries again in an
hour, so that no publisher waits. On SQLite rows go in small groups. One process does it, and an app in which nothing
is old writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import Any
from uuid import UUID

import msgspec

from toque.call.turns import Turns
from toque.contract.errors import Error
from toque.log.append import DAY_S
from toque.log.cursor import Cursor
from toque.log.event_table import SLOTS
from toque.log.snapshots import bounds
from toque.log.tail import Tail
from toque.messages.dialects import both
from toque.messages.wait_tables import OPEN
from toque.store.database import Database, transaction_of
from toque.store.own import execute
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["KEEP_DAYS_MAX", "Rotation"]

log = logging.getLogger("toque.messages")

KEEP_DAYS_MAX = SLOTS - 1
"""Today's part and those of the days before; the one that is left is that of tomorrow, and is emptied today."""

LOOK_S = 3600.0
"""Between two looks: a part is a day."""

AGAIN_S = 60.0
"""After a failure that nobody expected, a table that is being restored say: a log a minute, and not an hour's delay."""

ROWS = 500
"""Deleted at a time on SQLite, some milliseconds of work."""

LOCK_MS = 100
"""The longest that publishers may wait behind a TRUNCATE that waits itself."""

# ruff: noqa: S608 - what is put into a text is a number of ours.
_PLACES = both(
    "SELECT name, cursor FROM toque.consumer WHERE state <> 'done' "
    "UNION ALL SELECT name, cursor FROM toque.relay UNION ALL SELECT name, cursor FROM toque.webhook_place "
    # While no job waits for an event, nobody moves that place, and it keeps nothing.
    f"UNION ALL SELECT name, cursor FROM toque.job_wait_place WHERE EXISTS (SELECT 1 FROM toque.job_step WHERE {OPEN})"
)
"""Whoever follows the log: what one of them has not read is kept."""

_LAST = "SELECT extract(epoch FROM max(at))::float8 FROM toque.event_{}"
_LOCK = "LOCK TABLE toque.event_{0}, toque.inbox_{0} IN ACCESS EXCLUSIVE MODE"
_EMPTY = "TRUNCATE toque.event_{0}, toque.inbox_{0}"
_EPOCH = "SELECT max(number) FROM toque.epoch"
_UNREAD = (
    "SELECT EXISTS (SELECT FROM toque.event_{} WHERE (xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[])) "
    "AND NOT ($4::text <> '' AND pos <= $3 AND pg_visible_in_snapshot(xid, nullif($4::text, '')::pg_snapshot)))"
)
_DELETE_EVENTS = (
    "DELETE FROM toque_event WHERE pos IN "
    f"(SELECT pos FROM toque_event WHERE pos <= ? AND at < ? ORDER BY pos LIMIT {ROWS})"
)
_DELETE_INBOX = (
    "DELETE FROM toque_inbox WHERE (slot, consumer, event) IN "
    f"(SELECT slot, consumer, event FROM toque_inbox WHERE slot = ? AND event < ? LIMIT {ROWS})"
)
_FIRST = "SELECT min(at) FROM toque_event"


class Rotation:
    """See `messages.Service`.

    Args:
        keep_days: how many days are kept, the present one among them; at most `KEEP_DAYS_MAX`.
    """

    def __init__(self, store: Store, tail: Tail, keep_days: int) -> None:
        self._store = store
        self._tail = tail
        self._keep_days = keep_days
        self._turns = Turns(self._turn, log, "old events are not forgotten yet", again_s=AGAIN_S, again_max_s=AGAIN_S)

    async def start(self) -> None:
        self._turns.start()

    async def stop(self) -> None:
        await self._turns.stop()

    async def _turn(self) -> float:
        if await self._tail.claim("rotation"):
            try:
                await self.rotate(time())
            except Error as error:
                # A lock that was not to be had, more often than not: publishers wait behind each try.
                log.warning("old events are not forgotten yet: %s", error)
        return LOOK_S

    async def rotate(self, now: float) -> int:
        """Forget what may be forgotten at the moment *now*: how many events, or parts of the table."""
        today = int(now) // DAY_S
        kept = {(today - n) % SLOTS for n in range(self._keep_days)}
        before = (today - self._keep_days + 1) * DAY_S
        places = await self._do(lambda run: run(_PLACES[self._store.dialect_name].sql))
        cursors = [(name, msgspec.json.decode(cursor, type=Cursor)) for name, cursor in places]
        if self._store.dialect_name == "sqlite":
            return await self._rotate_rows(before, set(range(SLOTS)) - kept, cursors)
        return sum([await self._rotate_part(slot, before, cursors) for slot in range(SLOTS)])

    async def _rotate_part(self, slot: int, before: float, cursors: Sequence[tuple[str, Cursor]]) -> int:
        async def look(run: _Run) -> bool:
            return _is_old(await run(_LAST.format(slot)), before)

        async def empty(run: _Run) -> bool:
            await run(f"SET LOCAL lock_timeout = {LOCK_MS}")
            await run(_LOCK.format(slot))
            # Again, now that nobody else can write to it.
            if not await look(run):
                return False
            epoch = (await run(_EPOCH))[0][0]
            for name, cursor in cursors:
                if cursor.epoch != epoch or (await run(_UNREAD.format(slot), *_place(cursor)))[0][0]:
                    self._warn(name)
                    return False
            await run(_EMPTY.format(slot))
            return True

        if not await self._do(look):
            return 0
        return int(await self._do(empty))

    async def _rotate_rows(self, before: float, slots: set[int], cursors: Sequence[tuple[str, Cursor]]) -> int:
        passed = min((cursor.at for _, cursor in cursors), default=1 << 62)
        forgotten = 0
        while count := await self._execute(_DELETE_EVENTS, passed, before):
            forgotten += count
        first = (await self._do(lambda run: run(_FIRST)))[0][0]
        if first is not None and first < before:
            for name, cursor in cursors:
                if cursor.at == passed:
                    self._warn(name)
            return forgotten
        for slot in slots:
            # Tomorrow's part is one of them, and has rows already where a publisher's clock is ahead.
            while await self._execute(_DELETE_INBOX, slot, _first_id(before)):
                pass
        return forgotten

    def _warn(self, name: str) -> None:
        log.warning(
            "%s has not come past events that are older than %d days, so they are kept; see `toque events consumers`",
            *(name, self._keep_days),
        )

    async def _do(self, act: Callable[[_Run], Awaitable[Any]]) -> Any:
        return await self._store.command(lambda database: act(_Run(database)))

    async def _execute(self, sql: str, *arguments: Any) -> int:
        return await execute(self._store, Prepared(sql, True), *arguments)


class _Run:
    def __init__(self, database: Database) -> None:
        self._transaction = transaction_of(database)

    async def __call__(self, sql: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = await self._transaction.fetch(Prepared(sql), arguments, 0, list)
        return rows


def _first_id(at: float) -> str:
    """Where the ids begin of what was published from *at* on, in seconds since 1970 (RFC 9562, 5.7)."""
    return str(UUID(int=int(at * 1000) << 80))


def _is_old(rows: Sequence[Any], before: float) -> bool:
    return rows[0][0] is not None and rows[0][0] < before


def _place(cursor: Cursor) -> tuple[Any, ...]:
    return *bounds(cursor.seen), cursor.at, cursor.until
