"""Looking into PostgreSQL's log of changes: what one snapshot sees and the one before did not.

The argument is that of `toque.log.postgres_reader`. Nothing is read in pages here: one statement takes the snapshot and
all rows, so what it returns is exactly the difference.
"""

from __future__ import annotations

from typing import Any

from toque.cache.changes import CHANGES_MAX, Images
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.contract.errors import Error
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["PostgresChanges"]

# Whose numbers the transactions have (the cluster), whose tables these are (the database), and whether they were
# emptied by a crash or a standby's promotion (the generation).
_LOOK = Prepared(
    """
    WITH now AS MATERIALIZED (
        SELECT pg_current_snapshot()::text AS snapshot,
               (SELECT system_identifier FROM pg_control_system()) || ':' ||
               (SELECT oid FROM pg_database WHERE datname = current_database()) AS place
    )
    SELECT now.snapshot, now.place || ':' || state.generation, state.lost::text, found.name, found.columns,
           found.images::text
    FROM now LEFT JOIN toque.change_state AS state ON true LEFT JOIN LATERAL (
        SELECT name, columns, images FROM toque.change
        WHERE xid >= $1::text::xid8 OR xid = ANY ($2::text[]::xid8[]) LIMIT $3
    ) AS found ON true
    """
)
_FIRST = "9223372036854775807"
"""No transaction has this number or a higher one, so that a first look returns no changes."""

_BEGIN = Prepared("INSERT INTO toque.change_state DEFAULT VALUES ON CONFLICT DO NOTHING", True)
_ROTATE = Prepared("SELECT toque.rotate_change()", True)


class PostgresChanges:
    """See `Changes`."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images

    async def look(self, before: Snapshot | None) -> Seen:
        xmax, xip = (_FIRST, []) if before is None else (str(before.xmax), list(map(str, before.xip)))
        rows = await self._fetch(_LOOK, xmax, xip, CHANGES_MAX + 1)
        snapshot, epoch, lost = rows[0][:3]
        if epoch is None:
            # The log is new, or was emptied by a crash: this is where a generation begins.
            await self._store.command(self._begin)
            return await self.look(None)
        is_gap = len(rows) > CHANGES_MAX or (before is not None and before.xmin <= int(lost))
        changes = () if is_gap else tuple(self._images.change(*row[3:]) for row in rows if row[3] is not None)
        return Seen(epoch, Snapshot.parse(snapshot), changes, is_gap)

    async def trim(self) -> None:
        try:
            await execute(self._store, _ROTATE)
        except Error:
            # A transaction that has written to the part is still under way; the next call finds it as it is.
            return

    async def _begin(self, database: Database) -> None:
        await transaction_of(database).execute(_BEGIN, ())

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        # A replica has no unlogged tables, and each has a snapshot of its own: this brings no mark, so it stays here.
        return await look(self._store, prepared, *arguments)
