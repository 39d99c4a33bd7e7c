"""Jobs that begin by themselves: each moment of a schedule once, whoever and however many are there.

The next moment of each schedule is a row. Whoever enqueues the job for it moves the row on in the same transaction,
from the moment that he saw and from no other: so each moment is used once, also by two who both think that it is
theirs. One process does so at a time, only to spare the others the work. What is later than now is for the database's
clock to say, and a clock that is set back makes the next moment later, never again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from toque.call.turns import Turns
from toque.contract.schedule import Schedule
from toque.log.append import uuid7
from toque.log.tail import Tail
from toque.messages.jobs.book import Book
from toque.messages.jobs.inserting import INSERT, Batch
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["Schedules"]

log = logging.getLogger("toque.jobs")

LEADER = "jobs schedules"

LEAD_AGAIN_S = 5.0
"""How often a process asks whether it is the one: the moments of one that died begin so much late at most."""

PAUSE_MAX_S = 60.0
"""The longest sleep to the next moment, because clocks are set."""

AGAIN_S = 1.0

ON_TIME_S = 60.0
"""A moment that is this long over was not missed: a process takes so long to be replaced."""

MADE_UP_MAX = 1000
"""Of the moments that were missed, so many are made up for at most with "all": a day of minutes, almost."""


class _Statements(NamedTuple):
    read: Prepared
    """What time it is, and where each schedule is; the time alone where there is none."""
    add: Prepared
    renew: Prepared
    move: Prepared


def _prepared(sql: str, *, is_write: bool = True) -> Prepared:
    return Prepared(sql, is_write, is_system=True)


_STATEMENTS = {
    "postgresql": _Statements(
        _prepared(
            "SELECT extract(epoch FROM clock_timestamp())::float8, name, spec, extract(epoch FROM due)::float8 "
            "FROM (SELECT 1) AS one LEFT JOIN toque.job_schedule ON true",
            is_write=False,
        ),
        _prepared(
            "INSERT INTO toque.job_schedule (name, spec, due) VALUES ($1, $2, to_timestamp($3::float8)) "
            "ON CONFLICT DO NOTHING"
        ),
        _prepared("UPDATE toque.job_schedule SET spec = $2, due = to_timestamp($3::float8) WHERE name = $1"),
        _prepared(
            "UPDATE toque.job_schedule SET due = to_timestamp($2::float8) "
            "WHERE name = $1 AND due = to_timestamp($3::float8)"
        ),
    ),
    "sqlite": _Statements(
        _prepared(
            "SELECT (julianday('now') - 2440587.5) * 86400.0, name, spec, due "
            "FROM (SELECT 1) AS one LEFT JOIN toque_job_schedule ON true",
            is_write=False,
        ),
        _prepared("INSERT INTO toque_job_schedule (name, spec, due) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"),
        _prepared("UPDATE toque_job_schedule SET spec = ?2, due = ?3 WHERE name = ?1"),
        _prepared("UPDATE toque_job_schedule SET due = ?2 WHERE name = ?1 AND due = ?3"),
    ),
}


class Schedules:
    """Enqueues the jobs of an app that have schedules, as long as this process is the one that does."""

    def __init__(self, store: Store, tail: Tail, book: Book) -> None:
        self._store = store
        self._tail = tail
        self._book = book
        self._statements = _STATEMENTS[store.dialect_name]
        self._schedules: Mapping[str, Schedule] = book.schedules
        self._turns = Turns(self._turn, log, "schedules cannot be kept", again_s=AGAIN_S, again_max_s=LEAD_AGAIN_S)

    async def start(self) -> None:
        """Begin to keep the time."""
        self._turns.start()

    async def stop(self) -> None:
        """Let another process keep it."""
        await self._turns.stop()
        await self._tail.release(LEADER)

    async def _turn(self) -> float:
        """Enqueue what is due."""
        if not await self._tail.claim(LEADER):
            return LEAD_AGAIN_S
        # Anew at each turn: a backup may have been restored, and what it has not seen is to be made up for.
        rows = await look(self._store, self._statements.read)
        now: float = rows[0][0]
        kept = {name: (spec, due) for _, name, spec, due in rows}
        first = now + PAUSE_MAX_S
        for name, schedule in self._schedules.items():
            spec, due = kept.get(name, ("", 0.0))
            if spec != schedule.words:
                # One that is new, or has changed, begins with its next moment.
                due = schedule.after(now)
                statement = self._statements.renew if name in kept else self._statements.add
                await execute(self._store, statement, name, schedule.words, due)
            first = min(first, await self._fire(name, due, now) if due <= now else due)
        return max(first - now, 0.0)

    async def _fire(self, name: str, due: float, now: float) -> float:
        """Enqueue *name* for the moments up to *now* that count; the next one after them, or *due* where that is not
        where it is any more."""
        schedule = self._schedules[name]
        moments, following = [due], schedule.after(due)
        while following <= now and len(moments) < MADE_UP_MAX:
            moments.append(following)
            following = schedule.after(following)
        if following <= now:
            if schedule.missed == "all":
                log.warning("%s missed more than %d moments; no more of them are made up for", name, MADE_UP_MAX)
            following = schedule.after(now)
        if schedule.missed != "all":
            moments = moments[-1:]
        if schedule.missed == "none" and now - moments[0] > ON_TIME_S:
            moments = []
        job = self._book.by_name[name]
        key, share = self._book.place_of(job.rules.queue, "")
        batch = Batch(
            name,
            job.rules.queue,
            job.rules.priority,
            key,
            "{}",
            [uuid7() for _ in moments],
            [b"{}" for _ in moments],
            share=share,
        )

        async def run(database: Database) -> int:
            transaction = transaction_of(database)
            moved = await transaction.execute(self._statements.move, (name, following, due))
            if moved and moments:
                transaction.attached.append((INSERT, (batch,)))
            return moved

        if not await self._store.command(run):
            log.info("%s was moved on, or back by a restored backup, while its moment was used; looking again", name)
            return due
        self._tail.ring()
        return following
