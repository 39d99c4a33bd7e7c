"""Reading SQLite's log: positions are given in the order of commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.log.reader import PAGE
from toque.store.own import look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["SqliteReader"]

_READ = Prepared(
    "SELECT pos, id, type, version, key, headers, data, at FROM toque_event WHERE pos > ? ORDER BY pos LIMIT ?"
)
# Where all rows are gone, those that come lie above 0 as well.
_LAST = Prepared("SELECT coalesce(max(pos), 0) FROM toque_event")
_BEFORE = Prepared("SELECT min(pos) - 1 FROM toque_event WHERE at >= ?")


class SqliteReader:
    """See `Reader`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, cursor: Cursor, limit: int = PAGE) -> tuple[Sequence[Entry], Cursor]:
        rows = await self._fetch(_READ, cursor.at, limit)
        entries = [_entry(row) for row in rows]
        return entries, Cursor(at=entries[-1].pos) if entries else cursor

    async def now(self) -> Cursor:
        return Cursor(at=(await self._fetch(_LAST))[0][0])

    async def since(self, at: float) -> Cursor:
        before = (await self._fetch(_BEFORE, at))[0][0]
        return await self.now() if before is None else Cursor(at=before)

    async def at(self, position: int) -> Cursor:
        return Cursor(at=max(position - 1, 0))

    async def begin(self) -> int:
        return 1

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        return await look(self._store, prepared, *arguments)


def _entry(row: Sequence[Any]) -> Entry:
    pos, id, type, version, key, headers, data, at = row
    return Entry(pos, UUID(id), type, version, key, msgspec.json.decode(headers), data.encode(), at)
