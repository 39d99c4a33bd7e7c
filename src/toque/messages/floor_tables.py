"""What lets a look for jobs begin in the middle (`jobs.floors`), and keeps a job known by its id from being looked for.

The order in which jobs of a queue begin is one order of two columns: a floor is a place in it, and "from here on" one
comparison of rows that an index answers. With the priority itself, which goes down where positions go up, there is no
such comparison.
"""

from __future__ import annotations

from toque.log.step import Step
from toque.messages.job_tables import RUNNING, WAITING

__all__ = ["FLOORS", "known"]

# ruff: noqa: S608 - what is put into a text is a number of ours.


def known(state: int, prefix: str = "") -> str:
    """That a job which is known by its id has *state*.

    Asked plainly, PostgreSQL takes the index of all in that state for the way to it where it has counted few, and walks
    over those that are gone and kept by a snapshot: 50 000 for one row.
    """
    return f"{prefix}state + 0 = {state}"


FLOORS = Step(
    "job floors",
    postgresql=(
        "DROP INDEX toque.job_waiting",
        f"CREATE INDEX job_waiting ON toque.job (queue, (0 - priority), pos) WHERE state = {WAITING}",
        f"""
        DO $$ DECLARE definition text;
        BEGIN
            FOR definition IN
                SELECT replace(pg_get_functiondef(oid), 'state = {RUNNING}', '{known(RUNNING)}') FROM pg_proc
                WHERE pronamespace = 'toque'::regnamespace AND proname IN ('finish_job', 'record_step', 'record_wait')
            LOOP
                EXECUTE definition;
            END LOOP;
        END $$
        """,
        # What a session has planned while the table was empty, it goes by when it has filled.
        *(
            f"ALTER FUNCTION toque.{function} SET enable_seqscan = off"
            for function in ("finish_job", "record_step", "record_wait", "job_left")
        ),
    ),
    sqlite=(
        "DROP INDEX toque_job_waiting",
        f"CREATE INDEX toque_job_waiting ON toque_job (queue, 0 - priority, pos) WHERE state = {WAITING}",
    ),
)
