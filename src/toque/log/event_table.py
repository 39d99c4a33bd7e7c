"""The events' table: append-only, so that nothing in it ever has to be vacuumed.

On PostgreSQL it has eight parts, one for each day modulo eight; a part is emptied by TRUNCATE when all of it is older
than the retention and has been read by everybody. Nothing is updated and nothing deleted, so a long reader that holds
the vacuum horizon costs it nothing (PgQ's rotation). On SQLite rows are deleted in bounded
batches: there is no horizon.
"""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["EVENTS", "SLOTS"]

SLOTS = 8
"""Parts of the table; one more than the days that events are kept, so that the oldest can be emptied before it is
written to again."""

EVENTS = Step(
    "events",
    postgresql=(
        "CREATE SEQUENCE toque.event_pos",
        """
        CREATE TABLE toque.event (
            slot smallint NOT NULL,
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            pos bigint NOT NULL DEFAULT nextval('toque.event_pos'),
            id uuid NOT NULL,
            type text NOT NULL,
            version integer NOT NULL,
            key text NOT NULL,
            headers text NOT NULL,
            data text NOT NULL,
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        ) PARTITION BY LIST (slot)
        """,
        "CREATE INDEX event_pos_key ON toque.event (pos)",
        "CREATE INDEX event_xid ON toque.event (xid)",
        *(f"CREATE TABLE toque.event_{n} PARTITION OF toque.event FOR VALUES IN ({n})" for n in range(SLOTS)),
        """
        CREATE TABLE toque.epoch (
            number integer PRIMARY KEY,
            system text NOT NULL,
            floor bigint NOT NULL,
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
    ),
    sqlite=(
        """
        CREATE TABLE toque_event (
            pos INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            type TEXT NOT NULL,
            version INTEGER NOT NULL,
            key TEXT NOT NULL,
            headers TEXT NOT NULL,
            data TEXT NOT NULL,
            at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
        )
        """,
        "CREATE INDEX toque_event_at ON toque_event (at)",
    ),
)
