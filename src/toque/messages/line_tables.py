"""What keeps a long line of one key apart from those that may begin: a state of its own, which its jobs leave in turn.

A job whose key has another one before it may be set `BEHIND`, so that whoever looks for the next job does not pass over
it (`jobs.lines`). When one of its key leaves, the first that is left waits again: a trigger sees to that, whoever
deletes it and by whichever statement.
"""

from __future__ import annotations

from toque.log.step import Step
from toque.messages.job_tables import BEHIND, WAITING

__all__ = ["LINES"]

# ruff: noqa: S608 - what is put into a text is a number of ours.
_FIRST = "WHERE queue = OLD.queue AND key = OLD.key AND key <> '' ORDER BY pos LIMIT 1"

LINES = Step(
    "job lines",
    postgresql=(
        f"CREATE INDEX job_behind ON toque.job (queue, pos) WHERE state = {BEHIND}",
        "CREATE INDEX job_dead_queue ON toque.job_dead (queue, died)",
        "CREATE TABLE toque.job_left (queue text NOT NULL, key text NOT NULL)",
        # A snapshot that is older than the end of the line does not see who is behind, and what it would read could
        # make a serializable command fail. There it is noted, and a worker looks (`lines.follow`).
        f"""
        CREATE FUNCTION toque.job_left() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('transaction_isolation') = 'read committed' THEN
                UPDATE toque.job SET state = {WAITING}
                WHERE state = {BEHIND} AND id = (SELECT id FROM toque.job {_FIRST});
            ELSE
                INSERT INTO toque.job_left (queue, key) VALUES (OLD.queue, OLD.key);
            END IF;
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER job_left AFTER DELETE ON toque.job FOR EACH ROW WHEN (OLD.key <> '')
        EXECUTE FUNCTION toque.job_left()
        """,
    ),
    sqlite=(
        f"CREATE INDEX toque_job_behind ON toque_job (queue, pos) WHERE state = {BEHIND}",
        "CREATE INDEX toque_job_dead_queue ON toque_job_dead (queue, died)",
        # Whoever writes here sees everything. What is moved from PostgreSQL may bring some along.
        "CREATE TABLE toque_job_left (queue TEXT NOT NULL, key TEXT NOT NULL)",
        f"""
        CREATE TRIGGER toque_job_left AFTER DELETE ON toque_job WHEN OLD.key <> '' BEGIN
            UPDATE toque_job SET state = {WAITING}
            WHERE state = {BEHIND} AND pos = (SELECT pos FROM toque_job {_FIRST});
        END
        """,
    ),
)
