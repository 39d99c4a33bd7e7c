"""Looking into PostgreSQL's log of changes: what one snapshot sees and the one before did not.

The argument is that of `toque.log.postgres_reader`. Nothing is read in pages here: one statement takes the snapshot and
all rows, so what it returns is exactly the difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

from toque.cache.changes import CHANGES_MAX, Images
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.contract.errors import Error
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["PostgresChanges"]

Fetch = Callable[..., Awaitable[Sequence[Sequence[Any]]]]
"""The rows of a text with its arguments."""

# Whose numbers the transactions have (the cluster), since when (a copy of it that was started later has other
# transactions of the same numbers), whose tables these are (the database), and whether the log was emptied by a crash
# or a standby's promotion (the generation). And all by which rows may change without a word: which tables have triggers
# that are on, by whom those and the tables themselves were last touched (a trigger may have been off for a transaction;
# another table may have got the name; ALTER TABLE may have written all rows anew), what their columns are called (two
# may have changed names, of which the table's own row tells nothing), which partitions hang on which table, which
# policies there are, what the values of enums and the schemas are called, and into which tables another server
# replicates. VACUUM and ANALYZE touch them in place, which leaves xmin as it was. Columns cost 0.2 us each at every
# look, as measured.
_LOOK = Prepared(
    """
    WITH now AS MATERIALIZED (
        SELECT pg_current_snapshot()::text AS snapshot,
               (SELECT system_identifier FROM pg_control_system()) || ':' ||
               extract(epoch FROM pg_postmaster_start_time()) || ':' ||
               (SELECT oid FROM pg_database WHERE datname = current_database()) AS place,
               (SELECT concat(
                    sum(hashint8extended(tgrelid::bigint << 8 | ascii(tgenabled), trigger.xmin::text::bigint)), ':',
                    sum(hashint8extended(tgrelid::bigint, pg_class.xmin::text::bigint))
                ) FROM pg_trigger AS trigger JOIN pg_class ON pg_class.oid = tgrelid
                WHERE tgname LIKE 'toque_change_%') AS triggers,
               (SELECT coalesce(sum(hashnameextended(attname, attrelid::bigint << 16 | attnum)), 0)
                FROM pg_trigger JOIN pg_attribute ON attrelid = tgrelid
                WHERE tgname = 'toque_change_insert' AND attnum > 0) AS columns,
               (SELECT coalesce(sum(hashint8extended(inhrelid::bigint, pg_inherits.xmin::text::bigint)), 0)
                FROM pg_inherits) AS partitions,
               (SELECT coalesce(sum(hashint8extended(oid::bigint, xmin::text::bigint)), 0) FROM (
                    SELECT oid, xmin FROM pg_policy UNION ALL SELECT oid, xmin FROM pg_enum
                    UNION ALL SELECT oid, xmin FROM pg_namespace WHERE NOT starts_with(nspname, 'pg_')
                    UNION ALL SELECT srrelid, xmin FROM pg_subscription_rel
                ) AS words) AS words
    )
    SELECT now.snapshot,
           concat_ws(':', now.place, now.triggers, now.columns, now.partitions, now.words, state.generation),
           state.lost::text, found.name, found.columns, found.images::text, found.xid::text
    FROM now LEFT JOIN toque.change_state AS state ON state.lost < pg_snapshot_xmax(pg_current_snapshot())
    LEFT JOIN LATERAL (
        SELECT name, columns, images, xid FROM toque.change
        WHERE xid >= $1::text::xid8 AND xid < pg_snapshot_xmax(pg_current_snapshot()) OR xid = ANY ($2::text[]::xid8[])
        LIMIT $3
    ) AS found ON true
    """
)
_FIRST = 9223372036854775807
"""No transaction has this number or a higher one, so that a first look returns no changes."""

# A transaction that no snapshot has reached yet was another cluster's: a dump brought its log along.
_BEGIN = Prepared(
    """
    WITH foreign_changes AS (DELETE FROM toque.change WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
    INSERT INTO toque.change_state AS state DEFAULT VALUES
    ON CONFLICT (is_only) DO UPDATE SET generation = excluded.generation, lost = excluded.lost
    WHERE state.lost >= pg_snapshot_xmax(pg_current_snapshot())
    """,
    True,
)
_ROTATE = Prepared("SELECT toque.rotate_change()", True)


def _named(place: str) -> str:
    """A name for a log that may be told to anybody: callers carry it with their own commits (48 bits: of the few logs
    that a caller meets within seconds, no two share one)."""
    return blake2b(place.encode(), digest_size=6).hexdigest()


class PostgresChanges:
    """See `Changes`, and `Looker`.

    Args:
        fetch: asks on a connection of its own, which only reads; a connection of the store's pool is used unless given.
        looks_back: whether the first look has what the log still has of before.
    """

    is_immediate = False

    def __init__(self, store: Store, images: Images, fetch: Fetch | None = None, *, looks_back: bool = False) -> None:
        self.place = ""
        """The log that was last looked into, in full: a secret of those who may read it."""
        self._looks_back = looks_back
        self._store = store
        self._images = images
        self._own_fetch = fetch

    def open(self) -> None:
        """Its connection is somebody else's."""

    def close(self) -> None:
        """As above."""

    def has_news(self) -> bool:
        return True

    async def look(self, before: Snapshot | None) -> Seen:
        rows = await self._rows(_FIRST, ()) if before is None else await self._rows(before.xmax, before.xip)
        lost = rows[0][2]
        if lost is None:
            # The log is new, was emptied by a crash, or is another cluster's: this is where a generation begins.
            await execute(self._store, _BEGIN)
            return await self.look(None)
        if before is None:
            return self._seen(rows) if not self._looks_back else await self._look_back(int(lost))
        return self._seen(rows, is_gap=before.xmin <= int(lost))

    async def _look_back(self, lost: int) -> Seen:
        """A first look, with all that the log has since it last forgot anything, unless that is too much."""
        rows = await self._rows(lost + 1, ())
        if rows[0][2] is None:
            return await self.look(None)
        # Of the transactions up to there the log may still have some; they are not among these rows.
        since = None if len(rows) > CHANGES_MAX else Snapshot.up_to(int(rows[0][2]))
        return self._seen(rows, since=since)

    async def _rows(self, first: int, xip: Iterable[int]) -> Sequence[Sequence[Any]]:
        return await self._fetch(_LOOK, str(first), list(map(str, xip)), CHANGES_MAX + 1)

    def _seen(self, rows: Sequence[Sequence[Any]], *, is_gap: bool = False, since: Snapshot | None = None) -> Seen:
        snapshot, self.place = rows[0][:2]
        is_gap = is_gap or len(rows) > CHANGES_MAX
        told = () if is_gap else tuple(row[3:] for row in rows if row[3] is not None)
        changes = tuple(self._images.change(name, columns, images, int(xid)) for name, columns, images, xid in told)
        return Seen(_named(self.place), Snapshot.parse(snapshot), changes, is_gap, since)

    async def trim(self) -> None:
        try:
            await execute(self._store, _ROTATE)
        except Error:
            # A transaction that has written to the part is still under way; the next call finds it as it is.
            return

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> Sequence[Sequence[Any]]:
        if self._own_fetch is not None:
            return await self._own_fetch(prepared.sql, *arguments)
        # A replica has no unlogged tables, and each has a snapshot of its own: this brings no mark, so it stays here.
        return await look(self._store, prepared, *arguments)
