"""Reading PostgreSQL's log: what one snapshot sees and the one before did not.

Of the transactions that are in the second snapshot and not in the first, some are in the first one's `xip`, the others
have numbers from its `xmax` on. So `xid = any(xip) or xid >= xmax`, looked up in the second, is each of them once,
whenever they commit and however long they take (decision 0027).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.log.reader import PAGE
from toque.log.snapshots import bounds
from toque.store.database import Database, transaction_of
from toque.store.own import look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["PostgresReader"]

_COLUMNS = "pos, id, type, version, key, headers, data, extract(epoch FROM at)::float8 AS at"

_READ = """
WITH now AS MATERIALIZED (SELECT pg_current_snapshot()::text AS snapshot)
SELECT now.snapshot, found.* FROM now LEFT JOIN LATERAL (
    SELECT {columns} FROM toque.event WHERE {which} ORDER BY {order} LIMIT $1
) AS found ON true
"""
# A new difference is found by the numbers of its transactions, and sorted: nothing bounds its positions from below,
# because a transaction above `xmax` may have been under way for long. What is left of a large one is then read in the
# order of positions, from where its first page ended. `pos + 0`, and the functions, leave one index to each. The upper
# bound, which no number passes, says that it is a small part: without one the server takes it for a third of the table,
# unless it has counted lately, and reads all.
_FRESH = Prepared(
    _READ.format(
        columns=_COLUMNS,
        which=(
            "(xid BETWEEN $3::text::xid8 AND '18446744073709551615'::xid8 OR xid = ANY($4::text[]::xid8[])) "
            "AND pos + 0 > $2"
        ),
        order="pos + 0",
    )
)
_IN_ORDER = "pos > $2 AND NOT pg_visible_in_snapshot(xid, $3::text::pg_snapshot)"
_REST = Prepared(
    _READ.format(
        columns=_COLUMNS, which=f"{_IN_ORDER} AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)", order="pos"
    )
)
# An epoch that is over: all of it is committed, and the next one lies above it.
_OLD = Prepared(_READ.format(columns=_COLUMNS, which=f"{_IN_ORDER} AND pos <= $4", order="pos"))

_NOW = Prepared("SELECT pg_current_snapshot()::text")
_SINCE = Prepared("SELECT min(pos), pg_current_snapshot()::text FROM toque.event WHERE at >= to_timestamp($1::float8)")
_EPOCHS = Prepared("SELECT number, floor FROM toque.epoch ORDER BY number")
_BEGIN = Prepared(
    """
    INSERT INTO toque.epoch (number, system, floor)
    SELECT coalesce(max(number), 0) + 1, (SELECT system_identifier::text FROM pg_control_system()),
           CASE WHEN count(*) = 0 THEN 0 ELSE (SELECT last_value FROM toque.event_pos) END
    FROM toque.epoch
    HAVING coalesce((SELECT system FROM toque.epoch ORDER BY number DESC LIMIT 1), '')
           <> (SELECT system_identifier::text FROM pg_control_system())
    ON CONFLICT DO NOTHING
    """,
    True,
)


class PostgresReader:
    """See `Reader`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._epochs: list[tuple[int, int]] = []

    async def begin(self) -> int:
        async def note(database: Database) -> None:
            await transaction_of(database).execute(_BEGIN, ())

        await self._store.command(note)
        self._epochs = [(row[0], row[1]) for row in await self._fetch(_EPOCHS)]
        return self._epochs[-1][0]

    async def read(self, cursor: Cursor, limit: int = PAGE) -> tuple[Sequence[Entry], Cursor]:
        if not self._epochs:
            await self.begin()
        number, floor = self._epochs[-1]
        if cursor.epoch < number:
            return await self._read_old(cursor, limit)
        # What another cluster wrote has numbers that mean nothing here.
        at = max(cursor.at, floor)
        if is_fresh := cursor.is_caught_up:
            rows = await self._fetch(_FRESH, limit, at, *bounds(cursor.seen))
        else:
            rows = await self._fetch(_REST, limit, at, cursor.seen, cursor.until)
        entries, until = _entries(rows), rows[0][0] if is_fresh else cursor.until
        if len(entries) == limit:
            return entries, Cursor(entries[-1].pos, cursor.seen, until, number)
        after = Cursor(seen=until, epoch=number)
        # The end of a snapshot from a while ago is not the end of the log.
        return (entries, after) if entries or is_fresh else await self.read(after, limit)

    async def now(self) -> Cursor:
        if not self._epochs:
            await self.begin()
        return Cursor(seen=(await self._fetch(_NOW))[0][0], epoch=self._epochs[-1][0])

    async def since(self, at: float) -> Cursor:
        if not self._epochs:
            await self.begin()
        first, snapshot = (await self._fetch(_SINCE, at))[0]
        return Cursor(seen=snapshot, epoch=self._epochs[-1][0]) if first is None else self._before(first, snapshot)

    async def at(self, position: int) -> Cursor:
        if not self._epochs:
            await self.begin()
        return self._before(max(position, 1), (await self._fetch(_NOW))[0][0])

    def _before(self, first: int, snapshot: str) -> Cursor:
        """The place before the position *first*, from which is read up to *snapshot*."""
        epoch = max(number for number, floor in self._epochs if first > floor)
        return Cursor(first - 1, until=snapshot, epoch=epoch)

    async def _read_old(self, cursor: Cursor, limit: int) -> tuple[Sequence[Entry], Cursor]:
        following, floor = next((number, floor) for number, floor in self._epochs if number > cursor.epoch)
        entries = _entries(await self._fetch(_OLD, limit, cursor.at, cursor.seen, floor))
        if len(entries) == limit:
            return entries, Cursor(entries[-1].pos, cursor.seen, cursor.until, cursor.epoch)
        after = Cursor(epoch=following)
        return (entries, after) if entries else await self.read(after, limit)

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        return await look(self._store, prepared, *arguments)


def _entries(rows: Sequence[Any]) -> list[Entry]:
    return [
        Entry(pos, id, type, version, key, msgspec.json.decode(headers), data.encode(), at)
        for _, pos, id, type, version, key, headers, data, at in rows
        if pos is not None
    ]
