"""What people ask about the jobs of a database, and what they have done with them. It works beside a running app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from toque.messages.job_tables import BEHIND, LATER, RUNNING, WAITING
from toque.messages.jobs import status
from toque.messages.jobs.status import STATES, JobStatus
from toque.store.prepared import Prepared
from toque.store.transaction import Transaction

__all__ = ["Desk", "Listed", "QueueState"]


class Listed(Struct, frozen=True):
    """A job in a list."""

    id: str
    name: str
    queue: str
    state: str
    attempt: int
    key: str
    at: float
    """When it was enqueued, in seconds since 1970."""
    due_s: float
    """Seconds until it may begin, or negative: since it may, or was put aside."""
    reason: str


class QueueState(Struct, frozen=True):
    """How a queue is."""

    name: str
    waiting: int
    running: int
    later: int
    dead: int
    oldest_s: float
    """For how long the first of those that wait might have begun."""
    is_paused: bool


class Desk:
    """The jobs as one transaction sees and changes them."""

    def __init__(self, transaction: Transaction, dialect: str) -> None:
        self._transaction = transaction
        self._dialect = dialect

    async def jobs(self, *, state: str = "", queue: str = "", limit: int = 100) -> list[Listed]:
        """At most *limit* jobs, those that are to be done in their order and then the dead letters."""
        rows = await self._fetch(_LIST, state, queue, limit)
        return [Listed(str(id), *rest) for id, *rest in rows]

    async def queues(self) -> list[QueueState]:
        """Every queue that has jobs, or was paused."""
        rows = await self._fetch(_QUEUES)
        return [
            QueueState(name, waiting, running, later, dead, oldest_s, bool(is_paused))
            for name, waiting, running, later, dead, oldest_s, is_paused in rows
        ]

    async def show(self, id: UUID) -> JobStatus | None:
        """One job."""
        return await status.read(self._transaction, self._dialect, id)

    async def cancel(self, id: UUID) -> bool:
        """Whether there was anything to cancel."""
        return await status.cancel(self._transaction, self._dialect, id)

    async def retry(self, id: UUID) -> bool:
        """Have a dead letter done after all, or what is to come later now: with its id, its steps, and no failures."""
        key = _key(self._dialect, id)
        if await self._execute(_REVIVE, key):
            await self._execute(_BURY, key)
            return True
        return bool(await self._execute(_HASTEN, key))

    async def discard(self, id: UUID) -> bool:
        """Forget a dead letter and its steps."""
        await self._execute(_FORGET, _key(self._dialect, id))
        return bool(await self._execute(_BURY, _key(self._dialect, id)))

    async def pause(self, queue: str, *, is_paused: bool) -> None:
        """Let nothing of *queue* begin, or let it again."""
        await self._execute(_PAUSE, queue, is_paused)

    async def _fetch(self, sql: str, *arguments: Any) -> Sequence[Any]:
        rows: list[Any] = await self._transaction.fetch(self._prepared(sql), arguments, 0, list)
        return rows

    async def _execute(self, sql: str, *arguments: Any) -> int:
        return await self._transaction.execute(self._prepared(sql, is_write=True), arguments)

    def _prepared(self, sql: str, *, is_write: bool = False) -> Prepared:
        return Prepared(_written(sql, self._dialect), is_write, is_system=True)


def _key(dialect: str, id: UUID) -> object:
    return str(id) if dialect == "sqlite" else id


_NOW = {"postgresql": "clock_timestamp()", "sqlite": "((julianday('now') - 2440587.5) * 86400.0)"}


def _written(sql: str, dialect: str) -> str:
    """*sql* for one database: `seconds(...)` of a time or a difference, `NOW`, tables, and places of arguments."""
    if dialect == "sqlite":
        return sql.replace("toque.", "toque_").replace("seconds(", "(").replace("NOW", _NOW[dialect]).replace("$", "?")
    return _IN_SECONDS.join(sql.split("seconds(")).replace("NOW", _NOW[dialect])


_IN_SECONDS = "extract(epoch FROM "

_WORDS = " ".join(f"WHEN {number} THEN '{word}'" for number, word in STATES.items())
_STATE = f"CASE state {_WORDS} END"

_LIST = f"""
SELECT id, name, queue, word, attempt, key, CAST(at AS double precision), CAST(due AS double precision), reason FROM (
    SELECT id, name, queue, {_STATE} AS word, attempt, key, seconds(at) AS at, seconds(due - NOW) AS due,
        '' AS reason, priority, pos FROM toque.job
    UNION ALL
    SELECT id, name, queue, 'dead', attempt, key, seconds(at), seconds(died - NOW), reason, -32768, 0
    FROM toque.job_dead
) AS found
WHERE (word = $1 OR $1 = '') AND (queue = $2 OR $2 = '')
ORDER BY priority DESC, pos, due LIMIT $3
"""

_QUEUES = f"""
SELECT q.name,
    (SELECT count(*) FROM toque.job AS j WHERE j.queue = q.name AND state IN ({WAITING}, {BEHIND})),
    (SELECT count(*) FROM toque.job AS j WHERE j.queue = q.name AND state = {RUNNING}),
    (SELECT count(*) FROM toque.job AS j WHERE j.queue = q.name AND state = {LATER}),
    (SELECT count(*) FROM toque.job_dead AS d WHERE d.queue = q.name),
    CAST(coalesce((SELECT seconds(NOW - min(due)) FROM toque.job AS j
        WHERE j.queue = q.name AND state = {WAITING}), 0) AS double precision),
    coalesce((SELECT p.is_paused FROM toque.job_queue AS p WHERE p.name = q.name), false)
FROM (
    SELECT queue AS name FROM toque.job UNION SELECT queue FROM toque.job_dead UNION SELECT name FROM toque.job_queue
) AS q ORDER BY q.name
"""

_REVIVE = f"""
INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data, errors, at)
SELECT id, queue, name, {WAITING}, priority, NOW, key, headers, data, errors, at FROM toque.job_dead WHERE id = $1
ON CONFLICT DO NOTHING
"""
_BURY = "DELETE FROM toque.job_dead WHERE id = $1"
_HASTEN = f"UPDATE toque.job SET state = {WAITING}, due = NOW WHERE id = $1 AND state = {LATER}"
_FORGET = "DELETE FROM toque.job_step WHERE job IN (SELECT id FROM toque.job_dead WHERE id = $1)"
_PAUSE = """
INSERT INTO toque.job_queue (name, is_paused) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET is_paused = excluded.is_paused
"""
