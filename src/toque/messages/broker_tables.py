"""How far the log was relayed to each broker, and what came in from them."""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["BROKERS"]

BROKERS = Step(
    "brokers",
    postgresql=(
        """
        CREATE TABLE toque.relay (
            name text PRIMARY KEY,
            fence bigint NOT NULL,
            cursor text NOT NULL
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200)
        """,
        """
        CREATE TABLE toque.arrived (
            source text NOT NULL,
            id text NOT NULL,
            at double precision NOT NULL,
            PRIMARY KEY (source, id)
        )
        """,
        "CREATE INDEX arrived_at ON toque.arrived (at)",
    ),
    sqlite=(
        "CREATE TABLE toque_relay (name TEXT PRIMARY KEY, fence INTEGER NOT NULL, cursor TEXT NOT NULL)",
        """
        CREATE TABLE toque_arrived (
            source TEXT NOT NULL,
            id TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (source, id)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX toque_arrived_at ON toque_arrived (at)",
    ),
)
