"""What became of jobs, written in groups: one commit for many, a few milliseconds later."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from toque.call.tasks import cancel
from toque.call.trouble import Trouble
from toque.contract.errors import Overloaded, Unavailable
from toque.messages.jobs.job import Outcome
from toque.messages.jobs.table import JobTable

__all__ = ["Kind", "Settling"]

log = logging.getLogger("toque.jobs")

KINDS = ("progress", "done", "again", "dead", "forget")
Kind = str
"""`progress`, `done`, `again`, `dead`, or `forget` for the steps of what is done."""

FLUSH_S = 0.005
FLUSH_ROWS = 100
"""At a hundred a job's share of a commit is a twentieth, and more gain little; nobody waits for 5 ms."""

AGAIN_S, AGAIN_MAX_S = 0.1, 2.0
"""Between two tries while the database is away."""


class Settling:
    """Gathers outcomes and writes them. What it holds when the process dies is begun again, as any crash."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._outcomes: deque[tuple[Kind, Outcome]] = deque()
        self._is_full = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._trouble = Trouble(log, "what became of jobs cannot be written yet")

    def add(self, kind: Kind, outcome: Outcome) -> None:
        """Have *outcome* written soon."""
        self._outcomes.append((kind, outcome))
        if len(self._outcomes) >= FLUSH_ROWS:
            self._is_full.set()
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())
            self._writing.add_done_callback(self._ended)

    @property
    def is_empty(self) -> bool:
        return self._writing is None

    async def flush(self) -> None:
        """Come back when everything is written. Who waits no longer for that ends it."""
        try:
            while (writing := self._writing) is not None:
                self._is_full.set()
                await asyncio.wait((writing,))
        finally:
            await cancel(self._writing)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what became of jobs cannot be written", exc_info=error)

    async def _write_all(self) -> None:
        try:
            while self._outcomes:
                try:
                    async with asyncio.timeout(FLUSH_S):
                        await self._is_full.wait()
                except TimeoutError:
                    pass
                self._is_full.clear()
                await self._write([self._outcomes.popleft() for _ in range(min(FLUSH_ROWS, len(self._outcomes)))])
        finally:
            # Not by the task's own end, of which others hear later: what comes in between would be written by nobody.
            self._writing = None

    async def _write(self, rows: Sequence[tuple[Kind, Outcome]]) -> None:
        # Progress first: what ends is not there to be changed any more.
        kinds = {kind: [outcome for each, outcome in rows if each == kind] for kind in KINDS}
        pause = AGAIN_S
        while True:
            try:
                await self._table.settle(**kinds)
            except (Overloaded, Unavailable) as error:
                self._trouble.met(error)
            except Exception:
                # The database is broken, or one of the rows cannot be written: then it is let go, and its job, which
                # nobody is known to run, is given back (`Worker._compare`).
                log.exception("what became of %d jobs cannot be written", len(rows))
                if len(rows) == 1:
                    return
                for row in rows:
                    await self._write([row])
                return
            else:
                self._trouble.over()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, AGAIN_MAX_S)
