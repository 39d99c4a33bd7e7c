"""The jobs' tables: a small one for those that are to be done, and others for what is left of them.

A job that is done leaves `job`, so that whoever looks for the next one finds it among few rows (kept there, they cost a
seventh to a fifth of the rate). Those that are to begin later are in an index of their own, which nobody walks through
to find one that may begin now. A row changes two or three times in its life: pages have room for that (fillfactor), and
the table is vacuumed long before it has grown.
"""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["BEHIND", "JOBS", "LATER", "RUNNING", "WAITING"]

WAITING, RUNNING, LATER, BEHIND = 0, 1, 2, 3
"""The states of a job that is to be done. Behind another one of its key it waits too, but out of the way: see
`line_tables`."""

_POSTGRESQL = (
    "CREATE SEQUENCE toque.job_worker",
    """
    CREATE TABLE toque.job (
        id uuid PRIMARY KEY,
        pos bigint GENERATED ALWAYS AS IDENTITY,
        queue text NOT NULL,
        name text NOT NULL,
        state smallint NOT NULL,
        priority smallint NOT NULL,
        due timestamptz NOT NULL,
        attempt integer NOT NULL DEFAULT 0,
        crashes integer NOT NULL DEFAULT 0,
        fence bigint NOT NULL DEFAULT 0,
        worker bigint,
        key text NOT NULL,
        uniq text,
        is_freed boolean NOT NULL DEFAULT false,
        is_cancelled boolean NOT NULL DEFAULT false,
        headers text NOT NULL,
        data text NOT NULL,
        errors text NOT NULL DEFAULT '',
        progress text,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        started timestamptz
    ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)
    """,
    f"CREATE INDEX job_waiting ON toque.job (queue, priority DESC, pos) WHERE state = {WAITING}",
    f"CREATE INDEX job_later ON toque.job (due) WHERE state = {LATER}",
    f"CREATE INDEX job_running ON toque.job (worker) WHERE state = {RUNNING}",
    "CREATE INDEX job_in_order ON toque.job (queue, key, pos) WHERE key <> ''",
    # Whoever claims may not see what another claims at the same moment; this does.
    f"CREATE UNIQUE INDEX job_one_a_key ON toque.job (queue, key) WHERE state = {RUNNING} AND key <> ''",
    "CREATE UNIQUE INDEX job_unique ON toque.job (name, uniq) WHERE uniq IS NOT NULL",
    """
    CREATE TABLE toque.job_once (
        name text NOT NULL,
        uniq text NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (name, uniq)
    )
    """,
    "CREATE INDEX job_once_until ON toque.job_once (until)",
    """
    CREATE TABLE toque.job_result (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        outcome text NOT NULL,
        headers text NOT NULL,
        result text,
        at timestamptz NOT NULL,
        ended timestamptz NOT NULL DEFAULT clock_timestamp(),
        until timestamptz NOT NULL
    )
    """,
    "CREATE INDEX job_result_until ON toque.job_result (until)",
    """
    CREATE TABLE toque.job_dead (
        id uuid PRIMARY KEY,
        queue text NOT NULL,
        name text NOT NULL,
        priority smallint NOT NULL,
        key text NOT NULL,
        headers text NOT NULL,
        data text NOT NULL,
        attempt integer NOT NULL,
        crashes integer NOT NULL,
        reason text NOT NULL,
        errors text NOT NULL,
        at timestamptz NOT NULL,
        died timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX job_dead_died ON toque.job_dead (died)",
    """
    CREATE TABLE toque.job_step (
        job uuid NOT NULL,
        number integer NOT NULL,
        name text NOT NULL,
        result text,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (job, number)
    )
    """,
    "CREATE TABLE toque.job_schedule (name text PRIMARY KEY, spec text NOT NULL, due timestamptz NOT NULL)",
    "CREATE TABLE toque.job_queue (name text PRIMARY KEY, is_paused boolean NOT NULL DEFAULT false)",
    # What a job did is kept if, and only if, this start of it is still the one that counts.
    f"""
    CREATE FUNCTION toque.finish_job(which uuid, its_fence bigint) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM toque.job WHERE id = which AND fence = its_fence AND state = {RUNNING};
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another start of job % counts', which USING ERRCODE = 'TQ001';
        END IF;
    END $$
    """,
    # The lock keeps whoever takes this start for dead waiting until the step is committed or not.
    f"""
    CREATE FUNCTION toque.record_step(which uuid, its_fence bigint, its_number integer, its_name text, its_result text)
    RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM toque.job WHERE id = which AND fence = its_fence AND state = {RUNNING} FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another start of job % counts', which USING ERRCODE = 'TQ001';
        END IF;
        INSERT INTO toque.job_step (job, number, name, result) VALUES (which, its_number, its_name, its_result);
    END $$
    """,
)

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"

_SQLITE = (
    "CREATE TABLE toque_job_worker (number INTEGER PRIMARY KEY AUTOINCREMENT)",
    f"""
    CREATE TABLE toque_job (
        pos INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        queue TEXT NOT NULL,
        name TEXT NOT NULL,
        state INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        due REAL NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        fence INTEGER NOT NULL DEFAULT 0,
        worker INTEGER,
        key TEXT NOT NULL,
        uniq TEXT,
        is_freed INTEGER NOT NULL DEFAULT 0,
        is_cancelled INTEGER NOT NULL DEFAULT 0,
        headers TEXT NOT NULL,
        data TEXT NOT NULL,
        errors TEXT NOT NULL DEFAULT '',
        progress TEXT,
        at REAL NOT NULL DEFAULT {_NOW},
        started REAL
    )
    """,
    f"CREATE INDEX toque_job_waiting ON toque_job (queue, priority DESC, pos) WHERE state = {WAITING}",
    f"CREATE INDEX toque_job_later ON toque_job (due) WHERE state = {LATER}",
    f"CREATE INDEX toque_job_running ON toque_job (worker) WHERE state = {RUNNING}",
    "CREATE INDEX toque_job_in_order ON toque_job (queue, key, pos) WHERE key <> ''",
    f"CREATE UNIQUE INDEX toque_job_one_a_key ON toque_job (queue, key) WHERE state = {RUNNING} AND key <> ''",
    "CREATE UNIQUE INDEX toque_job_unique ON toque_job (name, uniq) WHERE uniq IS NOT NULL",
    """
    CREATE TABLE toque_job_once (
        name TEXT NOT NULL, uniq TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (name, uniq)
    )
    """,
    "CREATE INDEX toque_job_once_until ON toque_job_once (until)",
    f"""
    CREATE TABLE toque_job_result (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        outcome TEXT NOT NULL,
        headers TEXT NOT NULL,
        result TEXT,
        at REAL NOT NULL,
        ended REAL NOT NULL DEFAULT {_NOW},
        until REAL NOT NULL
    )
    """,
    "CREATE INDEX toque_job_result_until ON toque_job_result (until)",
    f"""
    CREATE TABLE toque_job_dead (
        id TEXT PRIMARY KEY,
        queue TEXT NOT NULL,
        name TEXT NOT NULL,
        priority INTEGER NOT NULL,
        key TEXT NOT NULL,
        headers TEXT NOT NULL,
        data TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        reason TEXT NOT NULL,
        errors TEXT NOT NULL,
        at REAL NOT NULL,
        died REAL NOT NULL DEFAULT {_NOW}
    )
    """,
    "CREATE INDEX toque_job_dead_died ON toque_job_dead (died)",
    f"""
    CREATE TABLE toque_job_step (
        job TEXT NOT NULL,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        result TEXT,
        at REAL NOT NULL DEFAULT {_NOW},
        PRIMARY KEY (job, number)
    )
    """,
    "CREATE TABLE toque_job_schedule (name TEXT PRIMARY KEY, spec TEXT NOT NULL, due REAL NOT NULL)",
    "CREATE TABLE toque_job_queue (name TEXT PRIMARY KEY, is_paused INTEGER NOT NULL DEFAULT 0)",
)

JOBS = Step("jobs", postgresql=_POSTGRESQL, sqlite=_SQLITE)
