"""The record of a durable step: written with the step's own effects, by the start of the job that counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from toque.messages.job_tables import RUNNING
from toque.store.closing import Row, Session, Superseded, Template

__all__ = ["RECORD"]


class _Record:
    """Each row holds a job's id and fence, the step's number and name, and its result as JSON."""

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        return ";".join(session.say(_STEP, row) for row in rows)

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        for id, fence, number, name, result in rows:
            added = connection.execute(_RECORD_LITE, (number, name, result, str(id), fence))
            if added.rowcount != 1:
                raise Superseded(f"another start of job {id} counts")


_STEP = Template("SELECT toque.record_step($1, $2, $3, $4, $5)", "uuid, bigint, integer, text, text")
_RECORD_LITE = f"""
INSERT INTO toque_job_step (job, number, name, result)
SELECT id, ?1, ?2, ?3 FROM toque_job WHERE id = ?4 AND fence = ?5 AND state = {RUNNING}
"""

RECORD = _Record()
