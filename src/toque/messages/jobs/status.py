"""What is known of one job, for operations and people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from toque.messages.job_tables import BEHIND, LATER, RUNNING, WAITING
from toque.messages.jobs.progress import Mark
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store
from toque.store.transaction import Transaction

__all__ = ["STATES", "JobStatus", "State", "cancel", "follow", "read"]

FOLLOW_S, FOLLOW_MAX_S = 0.25, 2.0
"""Between two looks at a job that is followed, at first and at most: no eye sees more, and a thousand who follow jobs
that say nothing ask five hundred times a second."""

State = Literal["waiting", "later", "running", "done", "cancelled", "dead"]

STATES: dict[int, State] = {WAITING: "waiting", BEHIND: "waiting", LATER: "later", RUNNING: "running"}


class JobStatus(Struct, frozen=True):
    """One job, as it is now."""

    id: UUID
    name: str
    state: State
    attempt: int
    """How often it was begun; 0 where it has ended, which is not kept."""
    at: float
    """When it was enqueued, in seconds since 1970."""
    is_cancelled: bool = False
    """Whether it was told to stop and has not yet."""
    progress: Mark | None = None
    result: Any = None
    """What it returned, as plain values."""
    reason: str = ""
    """Why it is a dead letter."""
    errors: str = ""
    """Its last failures."""

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "dead")


_POSTGRESQL = """
SELECT 0, name, state::integer, '', attempt, extract(epoch FROM at)::float8, is_cancelled, progress, '', errors
FROM toque.job WHERE id = $1::uuid
UNION ALL SELECT 1, name, 0, outcome, 0, extract(epoch FROM at)::float8, false, result, '', ''
FROM toque.job_result WHERE id = $1::uuid
UNION ALL SELECT 2, name, 0, 'dead', attempt, extract(epoch FROM at)::float8, false, NULL, reason, errors
FROM toque.job_dead WHERE id = $1::uuid
ORDER BY 1 LIMIT 1
"""

_SQLITE = """
SELECT 0, name, state, '', attempt, at, is_cancelled, progress, '', errors FROM toque_job WHERE id = ?1
UNION ALL SELECT 1, name, 0, outcome, 0, at, 0, result, '', '' FROM toque_job_result WHERE id = ?1
UNION ALL SELECT 2, name, 0, 'dead', attempt, at, 0, NULL, reason, errors FROM toque_job_dead WHERE id = ?1
ORDER BY 1 LIMIT 1
"""


def _system(sql: str, *, is_write: bool = False) -> Prepared:
    return Prepared(sql, is_write, is_system=True)


_READ = {"postgresql": _system(_POSTGRESQL), "sqlite": _system(_SQLITE)}

KEPT_S = 24 * 3600
"""How long it is known of a job that it was cancelled."""

_NOW = "((julianday('now') - 2440587.5) * 86400.0)"

_MINE_LITE = f"SELECT id FROM toque_job WHERE id = ?1 AND state <> {RUNNING}"

_CANCEL = {
    "postgresql": (
        _system(f"UPDATE toque.job SET is_cancelled = true WHERE id = $1::uuid AND state = {RUNNING}", is_write=True),
        _system(
            f"""
            WITH gone AS (DELETE FROM toque.job WHERE id = $1::uuid AND state <> {RUNNING} RETURNING *),
            forgotten AS (DELETE FROM toque.job_step WHERE job IN (SELECT id FROM gone))
            INSERT INTO toque.job_result (id, name, outcome, headers, at, until)
            SELECT id, name, 'cancelled', headers, at, clock_timestamp() + interval '{KEPT_S} seconds' FROM gone
            ON CONFLICT DO NOTHING
            """,
            is_write=True,
        ),
    ),
    "sqlite": (
        _system(f"UPDATE toque_job SET is_cancelled = 1 WHERE id = ?1 AND state = {RUNNING}", is_write=True),
        _system(
            f"""
            INSERT INTO toque_job_result (id, name, outcome, headers, at, until)
            SELECT id, name, 'cancelled', headers, at, {_NOW} + {KEPT_S} FROM toque_job
            WHERE id = ?1 AND state <> {RUNNING} ON CONFLICT DO NOTHING
            """,
            is_write=True,
        ),
        _system(f"DELETE FROM toque_job_step WHERE job IN ({_MINE_LITE})", is_write=True),
        _system(f"DELETE FROM toque_job WHERE id = ?1 AND state <> {RUNNING}", is_write=True),
    ),
}


async def read(transaction: Transaction, dialect: str, id: UUID) -> JobStatus | None:
    """The job *id*; None where nothing is known of it: it was never committed, or has ended and left nothing."""
    rows: Sequence[Any] = await transaction.fetch(_READ[dialect], (_argument(dialect, id),), 1, list)
    if not rows:
        return None
    table, name, state, outcome, attempt, at, is_cancelled, document, reason, errors = rows[0]
    value = None if document is None else msgspec.json.decode(document)
    is_result = table == 1
    return JobStatus(
        id=id,
        name=name,
        state=outcome or STATES[state],
        attempt=attempt,
        at=at,
        is_cancelled=bool(is_cancelled),
        progress=None if is_result or value is None else msgspec.convert(value, Mark),
        result=value if is_result else None,
        reason=reason,
        errors=errors,
    )


async def follow(store: Store, id: UUID) -> AsyncIterator[JobStatus]:
    """The job *id* as it is now, and again whenever that has changed, until it is over; nothing where `read` has none.

    Each look is a query of its own, and no connection is held in between.
    """
    before, pause_s = None, FOLLOW_S

    async def look(database: Database) -> JobStatus | None:
        return await read(transaction_of(database), store.dialect_name, id)

    while (found := await store.query(look)) is not None:
        if found == before:
            pause_s = min(pause_s * 1.5, FOLLOW_MAX_S)
        else:
            before, pause_s = found, FOLLOW_S
            yield found
        if found.is_over:
            return
        await asyncio.sleep(pause_s)


async def cancel(transaction: Transaction, dialect: str, id: UUID) -> bool:
    """Whether the job *id* was still to be done, or runs: it will end as cancelled."""
    affected = [await transaction.execute(statement, (_argument(dialect, id),)) for statement in _CANCEL[dialect]]
    return any(affected)


def _argument(dialect: str, id: UUID) -> object:
    return str(id) if dialect == "sqlite" else id
