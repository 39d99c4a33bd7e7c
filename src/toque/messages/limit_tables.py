"""What limits are kept by: which jobs run under one, in which keys they wait, and how many began when.

What runs is counted where it runs, in the jobs' own rows: the share of a process that died is free when its jobs are
given back. Queues without limits are in none of these indexes.
"""

from __future__ import annotations

from toque.log.step import Step
from toque.messages.job_tables import RUNNING, WAITING

__all__ = ["LIMITS"]

LIMITS = Step(
    "job limits",
    postgresql=(
        # In the order of bytes, so that "the next key" is one place in an index. NULL: its key, if any, is for order.
        'ALTER TABLE toque.job ADD COLUMN share text COLLATE "C", ADD COLUMN is_limited boolean NOT NULL DEFAULT false',
        "CREATE INDEX job_waiting_share ON toque.job (queue, share, priority DESC, pos) "
        f"WHERE state = {WAITING} AND share IS NOT NULL",
        f"CREATE INDEX job_running_limited ON toque.job (queue, share) WHERE state = {RUNNING} AND is_limited",
        """
        CREATE TABLE toque.job_rate (
            queue text NOT NULL,
            share text COLLATE "C" NOT NULL,
            slice bigint NOT NULL,
            starts integer NOT NULL,
            until timestamptz NOT NULL,
            PRIMARY KEY (queue, share, slice)
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)
        """,
        "CREATE INDEX job_rate_until ON toque.job_rate (until)",
    ),
    sqlite=(
        "ALTER TABLE toque_job ADD COLUMN share TEXT",
        "ALTER TABLE toque_job ADD COLUMN is_limited INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX toque_job_waiting_share ON toque_job (queue, share, priority DESC, pos) "
        f"WHERE state = {WAITING} AND share IS NOT NULL",
        f"CREATE INDEX toque_job_running_limited ON toque_job (queue, share) WHERE state = {RUNNING} AND is_limited",
        """
        CREATE TABLE toque_job_rate (
            queue TEXT NOT NULL,
            share TEXT NOT NULL,
            slice INTEGER NOT NULL,
            starts INTEGER NOT NULL,
            until REAL NOT NULL,
            PRIMARY KEY (queue, share, slice)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX toque_job_rate_until ON toque_job_rate (until)",
    ),
)
