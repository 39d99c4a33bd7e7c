"""Looking into SQLite's log of changes: positions are given in the order of commits, without holes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toque.cache.change import Change
from toque.cache.changes import CHANGES_MAX, Images
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["SqliteChanges", "between", "state"]

# The last change is never forgotten, so it tells how many there were. (The table of AUTOINCREMENT does too, but around
# sensitive tables stands a wall that lets nobody look at SQLite's own.)
state = Prepared(
    "SELECT generation, (SELECT coalesce(max(pos), 0) FROM toque_change), (SELECT min(pos) FROM toque_change) "
    "FROM toque_change_state"
)
# As bytes, because a text may hold what is no text.
_READ = Prepared("SELECT name, columns, CAST(images AS BLOB) FROM toque_change WHERE pos > ? AND pos <= ? LIMIT ?")
_NAMES = Prepared("SELECT DISTINCT name FROM toque_change WHERE pos > ? AND pos <= ?")


class SqliteChanges:
    """See `Changes`."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images

    async def look(self, before: Snapshot | None) -> Seen:
        async def read(database: Database) -> Seen:
            transaction = transaction_of(database)
            # What there is to read is known only after the first statement, and must be of the same state.
            transaction.announce_more()
            ((generation, last, first),) = await transaction.fetch(state, (), 0, list)
            seen = last if before is None else before.xmax - 1
            now = Snapshot(last + 1, last + 1)
            if seen > last or (seen < last and (first is None or first > seen + 1)):
                return Seen(generation, now, (), is_gap=True)
            return Seen(generation, now, await self._between(transaction, seen, last))

        return await self._store.query(read)

    async def _between(self, transaction: Any, seen: int, last: int) -> tuple[Change, ...]:
        if last - seen > CHANGES_MAX:
            return tuple(Change(name, None) for (name,) in await transaction.fetch(_NAMES, (seen, last), 0, list))
        rows = await transaction.fetch(_READ, (seen, last, CHANGES_MAX), 0, list) if last > seen else ()
        return tuple(self._images.change(*row) for row in rows)


def between(
    fetch: Callable[[str, tuple[Any, ...]], list[Any]], images: Images, seen: int, last: int
) -> tuple[Change, ...]:
    """The changes after position *seen* up to *last*, read by *fetch* without waiting."""
    if last - seen > CHANGES_MAX:
        return tuple(Change(name, None) for (name,) in fetch(_NAMES.sql, (seen, last)))
    rows = fetch(_READ.sql, (seen, last, CHANGES_MAX)) if last > seen else ()
    return tuple(images.change(*row) for row in rows)
