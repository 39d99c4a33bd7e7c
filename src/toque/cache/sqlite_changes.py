"""Looking into SQLite's log of changes: positions are given in the order of commits, without holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toque.cache.changes import CHANGES_MAX, Images
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.contract.errors import Unavailable
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["STATE", "SqliteChanges", "is_gap", "seen_by", "state_of", "telling"]

# The last change is never forgotten, so it tells how many there were. (The table of AUTOINCREMENT does too, but around
# sensitive tables stands a wall that lets nobody look at SQLite's own.)
STATE = Prepared(
    "SELECT generation, (SELECT coalesce(max(pos), 0) FROM toque_change), (SELECT min(pos) FROM toque_change) "
    "FROM toque_change_state"
)
# As bytes, because a text may hold what is no text.
_EACH = Prepared(
    "SELECT name, columns, CAST(images AS BLOB) FROM toque_change "  # noqa: S608 - a number of ours
    f"WHERE pos > ? AND pos <= ? LIMIT {CHANGES_MAX}"
)
_TABLES = Prepared("SELECT DISTINCT name, '', NULL FROM toque_change WHERE pos > ? AND pos <= ?")


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
            generation, last, first = state_of(await transaction.fetch(STATE, (), 0, list))
            seen, now = seen_by(before, last), Snapshot.up_to(last)
            if is_gap(seen, first, last):
                return Seen(generation, now, (), is_gap=True)
            rows = await transaction.fetch(telling(seen, last), (seen, last), 0, list) if last > seen else ()
            return Seen(generation, now, tuple(self._images.change(*row) for row in rows))

        return await self._store.query(read)


def state_of(rows: Sequence[Any]) -> tuple[str, int, int | None]:
    """What STATE found. Raises: Unavailable where somebody has emptied its table: positions may begin anew then, and
    nobody can tell whether they have."""
    if not rows:
        raise Unavailable("the log of changes has no generation; the next start gives it another one")
    generation, last, first = rows[0]
    return generation, last, first


def seen_by(before: Snapshot | None, last: int) -> int:
    """The last position that the look *before* saw; where there was none, the one of now, *last*."""
    return last if before is None else before.xmax - 1


def is_gap(seen: int, first: int | None, last: int) -> bool:
    """Whether the log, which has the positions from *first* to *last*, lacks one after *seen*, or is an earlier one."""
    return seen > last or (seen < last and (first is None or first > seen + 1))


def telling(seen: int, last: int) -> Prepared:
    """What tells the changes after the first of its two arguments up to the second: each of them or, where they are too
    many, their tables alone."""
    return _EACH if last - seen <= CHANGES_MAX else _TABLES
