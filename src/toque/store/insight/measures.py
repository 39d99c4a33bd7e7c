"""How a database is: sizes, connections, transactions, locks, lag; as metrics and for people.

A scrape must not hurt what it watches: one look at a time, on a connection of its own, with a limit, and kept for ten
seconds, however many ask. Nothing here counts rows or reads a table.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from msgspec import Struct

__all__ = ["TIMEOUT_S", "Measure", "Measuring", "database_measuring", "measure"]

log = logging.getLogger("toque.metrics")

# Prometheus scrapes every 15 s or less often: nobody sees that a figure is ten seconds old.
KEPT_S = 10.0
TIMEOUT_S = 2.0
# Prometheus advises against labels of more than some tens of values; the largest tables are those that matter.
TABLES_MAX = 50


class Measure(Struct, frozen=True, kw_only=True):
    """One figure of what is in a database."""

    name: str
    """In Prometheus' units, without the prefix `toque_database_`, or `toque_` of messages."""
    value: float
    help: str
    labels: dict[str, str] = {}
    is_counter: bool = False


Look = Callable[[], Awaitable[list[Measure]]]


class Measuring:
    """Figures of a database, looked at seldom.

    Args:
        measure: looks at it.
        of: what is looked at, for people.
        up: made of whether it answered; nothing unless given.
    """

    def __init__(
        self, measure: Look, of: str = "the database", *, up: Callable[[bool], Sequence[Measure]] = lambda _: ()
    ) -> None:
        self._measure = measure
        self._of = of
        self._up = up
        self._kept: list[Measure] = []
        self._until = 0.0
        self._looking: asyncio.Task[list[Measure]] | None = None

    async def __call__(self) -> list[Measure]:
        """What was seen less than ten seconds ago; nothing but `up` where the database does not answer."""
        if monotonic() < self._until:
            return self._kept
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        # Whoever leaves does not take the look away from the others.
        return await asyncio.shield(self._looking)

    async def _look(self) -> list[Measure]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await self._measure()
        except Exception as error:
            log.warning("%s cannot be measured: %s", self._of, type(error).__name__)
            found = []
        self._kept = [*self._up(bool(found)), *found]
        self._until = monotonic() + KEPT_S
        self._looking = None
        return self._kept


def database_measuring(url: str) -> Measuring:
    """The figures of the database at *url* itself."""
    return Measuring(partial(measure, url), up=_up)


def _up(is_up: bool) -> list[Measure]:
    return [Measure(name="up", value=float(is_up), help="Whether the database answered when it was looked at.")]


async def measure(url: str) -> list[Measure]:
    """Look at the database at *url*. Raises: whatever the driver does where it does not answer."""
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_sqlite, url)
    return await _postgres(url)


def _sqlite(url: str) -> list[Measure]:
    from toque.store.sqlite import path_of
    from toque.store.sqlite_connection import open_reader

    path = path_of(url)
    if path is None:
        return []
    with closing(open_reader(path)) as connection:
        pragma = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count", "wal_autocheckpoint")
        }
    page, wal = pragma["page_size"], _size(path.with_name(f"{path.name}-wal"))
    # Source: https://www.sqlite.org/fileformat2.html, section 4.1: a header of 32 bytes, and 24 before each page.
    frames = max(wal - 32, 0) // (page + 24)
    late = max(frames - pragma["wal_autocheckpoint"], 0)
    return [
        Measure(name="size_bytes", value=_size(path), help="Size of the database."),
        Measure(name="wal_bytes", value=wal, help="Size of the write-ahead log beside it."),
        Measure(
            name="free_bytes",
            value=pragma["freelist_count"] * page,
            help="Room within the file that rows have left, and that VACUUM gives back.",
        ),
        Measure(
            name="checkpoint_late_pages",
            value=late,
            help="Pages of the log beyond where a checkpoint is due: a reader that stays open holds it up.",
        ),
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _postgres(url: str) -> list[Measure]:
    from toque.store.postgres_connection import connect_to_move

    connection = await connect_to_move(url)
    try:
        # SET LOCAL ends with the transaction, so that a pooler's next user does not inherit it.
        async with connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL statement_timeout = {int(TIMEOUT_S * 1000)}")
            (activity,) = await connection.fetch(_ACTIVITY)
            states = await connection.fetch(_STATES)
            (totals,) = await connection.fetch(_TOTALS)
            tables = await connection.fetch(_TABLES, TABLES_MAX)
            replicas = await connection.fetch(_REPLICAS)
            lag = await connection.fetchval(_LAG)
    finally:
        await connection.close()
    return [
        *_labelled("connections", "Connections, by what they do.", "state", states),
        *_figures(activity, _OF_ACTIVITY),
        *_figures(totals, _OF_TOTALS),
        *(
            found
            for column, (name, text) in _OF_TABLES.items()
            for found in _labelled(name, text, "table", [(row["name"], row[column]) for row in tables])
        ),
        *_labelled("replica_lag_bytes", "Log that a replica has not replayed.", "replica", replicas),
        *_labelled("replay_lag_seconds", "Age of what a replica shows.", "", [] if lag is None else [("", lag)]),
    ]


def _figures(row: Any, of: dict[str, tuple[str, str, bool]]) -> list[Measure]:
    return [
        Measure(name=name, value=float(row[column] or 0), help=text, is_counter=is_counter)
        for column, (name, text, is_counter) in of.items()
    ]


def _labelled(name: str, text: str, label: str, values: Iterable[Sequence[Any]]) -> list[Measure]:
    """The same figure of several: *values* are whose it is, and the figure."""
    return [
        Measure(name=name, value=float(value or 0), help=text, labels={label: str(of)} if label else {})
        for of, value in values
    ]


_OF_ACTIVITY = {
    "waiting": ("lock_waits", "Statements that wait for a lock now.", False),
    "longest": ("longest_transaction_seconds", "Age of the oldest transaction that is open.", False),
    "idle": ("idle_in_transaction_seconds", "Longest time that an open transaction has done nothing.", False),
}
_OF_TOTALS = {
    "size": ("size_bytes", "Size of the database.", False),
    "xact_commit": ("commits", "Transactions that were committed.", True),
    "xact_rollback": ("rollbacks", "Transactions that were rolled back.", True),
    "deadlocks": ("deadlocks", "Transactions that met in a circle.", True),
    "temp_bytes": ("temporary_bytes", "Written to disk because memory did not suffice.", True),
}
_OF_TABLES = {
    "size": ("table_bytes", "Size of a table with its indexes."),
    "live": ("table_rows", "About how many rows a table has."),
    "dead": ("table_dead_rows", "About how many rows VACUUM has still to remove."),
}
_STATES = """
SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1
"""
_ACTIVITY = """
SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
    extract(epoch FROM max(clock_timestamp() - xact_start)) AS longest,
    extract(epoch FROM max(clock_timestamp() - state_change) FILTER (WHERE state LIKE 'idle in%')) AS idle
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TOTALS = """
SELECT pg_database_size(datname) AS size, xact_commit, xact_rollback, deadlocks, temp_bytes
FROM pg_stat_database WHERE datname = current_database()
"""
# A size waits for whoever has the table or one of its indexes for himself, a migration say: those are left out.
_TABLES = """
SELECT relname AS name, pg_total_relation_size(relid) AS size, n_live_tup AS live, n_dead_tup AS dead
FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relid NOT IN (
    SELECT coalesce(indrelid, relation) FROM pg_locks LEFT JOIN pg_index ON indexrelid = relation
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) ORDER BY 2 DESC LIMIT $1
"""
_REPLICAS = """
SELECT coalesce(nullif(application_name, ''), client_addr::text, pid::text),
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        replay_lsn)
FROM pg_stat_replication
"""
# A replica whose primary rests has nothing to replay, and is not behind.
_LAG = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN NULL WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END
"""
