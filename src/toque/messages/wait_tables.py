"""Waits for events, in jobs: a durable step whose result is to come from the log, and how far the log was looked at.

An open wait is a row of `job_step` without a result; a partial index finds those for an event, so what nobody waits
for costs nothing. `is_woken` is in the job's own row: whoever puts a job to sleep and whoever wakes it change one row,
so neither can miss the other.
"""

from __future__ import annotations

from toque.log.step import Step
from toque.messages.job_tables import RUNNING

__all__ = ["OPEN", "WAITS"]

OPEN = "awaits IS NOT NULL AND result IS NULL"
"""What makes a step a wait that is not over."""

WAITS = Step(
    "job waits",
    postgresql=(
        "ALTER TABLE toque.job ADD COLUMN is_woken boolean NOT NULL DEFAULT false",
        """
        ALTER TABLE toque.job_step ADD COLUMN awaits text, ADD COLUMN key text, ADD COLUMN since timestamptz,
            ADD COLUMN until timestamptz, ADD COLUMN version integer, ADD COLUMN event uuid
        """,
        f"CREATE INDEX job_step_open ON toque.job_step (awaits, key) WHERE {OPEN}",
        # A wait looks once at what was published since its job was enqueued. Events lie in the order of their time,
        # so a summary of each megabyte is enough, and costs a publisher nothing to speak of (manual, 65.5 "BRIN").
        "CREATE INDEX event_at ON toque.event USING brin (at) WITH (autosummarize = on)",
        "CREATE TABLE toque.job_wait_place (name text PRIMARY KEY, cursor text NOT NULL)",
        f"""
        CREATE FUNCTION toque.record_wait(which uuid, its_fence bigint, its_number integer, its_name text,
            its_type text, its_key text, its_seconds float8) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE its_at timestamptz;
        BEGIN
            SELECT at INTO its_at FROM toque.job WHERE id = which AND fence = its_fence AND state = {RUNNING} FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'another start of job % counts', which USING ERRCODE = 'TQ001';
            END IF;
            INSERT INTO toque.job_step (job, number, name, awaits, key, since, until)
            VALUES (which, its_number, its_name, its_type, its_key, its_at,
                clock_timestamp() + make_interval(secs => its_seconds));
        END $$
        """,
    ),
    sqlite=(
        "ALTER TABLE toque_job ADD COLUMN is_woken INTEGER NOT NULL DEFAULT 0",
        *(
            f"ALTER TABLE toque_job_step ADD COLUMN {column}"
            for column in ("awaits TEXT", "key TEXT", "since REAL", "until REAL", "version INTEGER", "event TEXT")
        ),
        f"CREATE INDEX toque_job_step_open ON toque_job_step (awaits, key) WHERE {OPEN}",
        "CREATE TABLE toque_job_wait_place (name TEXT PRIMARY KEY, cursor TEXT NOT NULL)",
    ),
)
