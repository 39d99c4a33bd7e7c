"""Who follows the log and how far he has come, what he has handled, and what waits because he could not."""

from __future__ import annotations

from toque.log.event_table import SLOTS
from toque.log.step import Step

__all__ = ["CONSUMERS"]

_PARKED = """
    consumer integer NOT NULL,
    event {id} NOT NULL,
    pos bigint NOT NULL,
    type text NOT NULL,
    version integer NOT NULL,
    key text NOT NULL,
    headers text NOT NULL,
    data text NOT NULL,
    at double precision NOT NULL,
    state text NOT NULL,
    holds boolean NOT NULL,
    due double precision,
    attempt integer NOT NULL,
    crashes integer NOT NULL DEFAULT 0,
    reason text NOT NULL,
    errors text NOT NULL,
    since double precision NOT NULL,
    UNIQUE (consumer, event)
"""

_CONSUMER = """
    name text NOT NULL UNIQUE,
    handler text NOT NULL,
    cursor text NOT NULL,
    until double precision,
    state text NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    is_open boolean NOT NULL DEFAULT FALSE,
    crashes integer NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    began double precision NOT NULL,
    moved double precision NOT NULL
"""

_INDEXES = (
    "CREATE INDEX {prefix}parked_due ON {table} (due) WHERE state = 'waiting'",
    "CREATE INDEX {prefix}parked_key ON {table} (consumer, key, place) WHERE holds",
)


def _indexes(prefix: str, table: str) -> tuple[str, ...]:
    return tuple(index.format(prefix=prefix, table=table) for index in _INDEXES)


CONSUMERS = Step(
    "consumers",
    postgresql=(
        # Small, and changed once a second: room for it in every page, and it is vacuumed early.
        f"CREATE TABLE toque.consumer (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {_CONSUMER}) "
        "WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200)",
        """
        CREATE TABLE toque.inbox (
            slot smallint NOT NULL,
            consumer integer NOT NULL,
            event uuid NOT NULL,
            PRIMARY KEY (slot, consumer, event)
        ) PARTITION BY LIST (slot)
        """,
        *(f"CREATE TABLE toque.inbox_{n} PARTITION OF toque.inbox FOR VALUES IN ({n})" for n in range(SLOTS)),
        "CREATE TABLE toque.parked (place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        f"{_PARKED.format(id='uuid')}) WITH (autovacuum_vacuum_scale_factor = 0.02)",
        *_indexes("", "toque.parked"),
    ),
    sqlite=(
        f"CREATE TABLE toque_consumer (id INTEGER PRIMARY KEY AUTOINCREMENT, {_CONSUMER})",
        """
        CREATE TABLE toque_inbox (
            slot INTEGER NOT NULL,
            consumer INTEGER NOT NULL,
            event TEXT NOT NULL,
            PRIMARY KEY (slot, consumer, event)
        ) WITHOUT ROWID
        """,
        f"CREATE TABLE toque_parked (place INTEGER PRIMARY KEY AUTOINCREMENT, {_PARKED.format(id='text')})",
        *_indexes("toque_", "toque_parked"),
    ),
)
