"""The jobs of a worker that died are begun again by others.

A worker holds a claim as long as it lives (`Tail.claim`), and the database lets go of it when the process ends: nobody
compares clocks, and nobody who lives is taken for dead. A worker whose connection was cut holds nothing for a moment,
so a claim must be free for longer than a process takes to connect again.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from time import monotonic

from toque.log.tail import AGAIN_MAX_S, Tail
from toque.messages.jobs.job import SUSPECT_FROM, Outcome
from toque.messages.jobs.table import JobTable

__all__ = ["CRASHES_MAX", "Rescue", "claim_of"]

log = logging.getLogger("toque.jobs")

LEADER = "jobs rescue"

LOOK_S = 1.0
"""Between two looks for the dead."""

GRACE_S = {"postgresql": 2 * AGAIN_MAX_S + 1.0, "sqlite": 0.0}
"""How long a claim must be free. On PostgreSQL the tail's longest pause between two tries to connect, twice, and a
second; a lock on a file is lost with the process alone."""

CRASHES_MAX = 3
"""A job in whose company a process ended three times is put aside: the third time it was the only one that was there
before (`Worker`), and that is proof."""


def claim_of(worker: int) -> str:
    """The name that *worker* claims as long as it lives."""
    return f"jobs worker {worker}"


class Rescue:
    """Looks for workers that died; one process at a time does."""

    def __init__(self, table: JobTable, tail: Tail, dialect: str) -> None:
        self._table = table
        self._tail = tail
        self._grace_s = GRACE_S[dialect]
        self._free_since: dict[int, float] = {}
        self._due = 0.0

    async def look(self, workers: Set[int]) -> None:
        """Give back what those of *workers* have begun who are no more."""
        now = monotonic()
        if now < self._due or not await self._tail.claim(LEADER):
            return
        self._due = now + LOOK_S
        self._free_since = {worker: since for worker, since in self._free_since.items() if worker in workers}
        for worker in sorted(workers):
            if not await self._tail.claim(claim_of(worker)):
                self._free_since.pop(worker, None)
                continue
            try:
                if now - self._free_since.setdefault(worker, now) >= self._grace_s:
                    await self._give_back(worker)
            finally:
                # Had it lived, it could not have come back to its number meanwhile: it takes another one then.
                await self._tail.release(claim_of(worker))

    async def resign(self) -> None:
        """Let another process look."""
        await self._tail.release(LEADER)

    async def _give_back(self, worker: int) -> None:
        if not (held := await self._table.held(worker)):
            return
        # Of those that ran together any may have ended the process, but for a suspect: it is the one to blame. What was
        # claimed and had not begun is not.
        begun = [job for job in held if job.has_begun]
        suspects = [job for job in begun if job.crashes >= SUSPECT_FROM] or begun
        blamed = {job.id for job in suspects}
        again: list[Outcome] = []
        dead: list[Outcome] = []
        for job in held:
            crash = int(job.id in blamed)
            is_dead = job.crashes + crash >= CRASHES_MAX
            outcome = Outcome(
                id=job.id,
                fence=job.fence,
                crash=crash,
                refund=1 - crash,
                error=f"the process of worker {worker} ended\n" if crash else "",
                reason=f"{CRASHES_MAX} processes ended while it ran" if is_dead else "",
            )
            (dead if is_dead else again).append(outcome)
        await self._table.settle(again=again, dead=dead)
        log.warning("worker %d is no more; of its jobs %d begin again, %d are put aside", worker, len(again), len(dead))
