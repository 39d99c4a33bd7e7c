"""Read replicas of PostgreSQL: which of them may answer a query.

A replica replays the primary's write-ahead log, and a position in that log (an LSN) says how far it has come. A query
may go to a replica that has replayed

- the caller's own last commit, whose position the caller brought along as a *mark*, and
- what the primary had written at some moment of the last `STALE_S` seconds,

so that nobody reads around his own write, and nobody reads anything older than that. Both are judged by what was seen
at the last look, which is safe because a log is only ever replayed forwards. Nothing waits for a look: what is not
known to be fresh goes to the primary.

Source: PostgreSQL's manual, "Recovery Information Functions" (9.28.4) and "Backup Control Functions" (9.28.3).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from toque.store.pool import Pool

__all__ = ["BEYOND", "PRIMARY", "Replica", "Replicas", "position"]

STALE_S = 1.0
"""How old a read may be that follows no write of its own caller: as an answer from memory (`cache.bound_s`)."""

LOOK_S = 0.2
"""How often positions are looked at while queries come: five samples within STALE_S. No query, no look."""

LEFT_OUT_S = 1.0
"""How long a replica that failed is left alone; as long as a refused caller is told to wait."""

BEYOND = 2**64 - 1
"""A position that no replica reaches."""

PRIMARY = "SELECT pg_current_wal_insert_lsn()::text"
REPLICA = "SELECT pg_last_wal_replay_lsn()::text WHERE pg_is_in_recovery()"
"""No row where it was promoted: what it has replayed stays as it was, and what it answers is its own."""


def position(lsn: str | None) -> int:
    """The position that *lsn* (`16/B374D848`) stands for: two 32-bit halves (PostgreSQL's manual, "pg_lsn Type")."""
    high, _, low = (lsn or "0/0").partition("/")
    return (int(high, 16) << 32) + int(low, 16)


Ask = Callable[[Pool[Any], str], Awaitable[str | None]]
"""Runs a statement on a connection of a pool, and returns its only value. It does not take longer than STALE_S."""


class Replica:
    """One replica: its connections, and how far it was seen to be."""

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool
        self._replayed = 0
        self._seen_at = 0.0
        self._out_until = 0.0

    def has(self, needed: int, now: float) -> bool:
        """Whether it answered lately, and had replayed *needed* by then."""
        return self._replayed >= needed and now - self._seen_at < STALE_S

    async def look(self, ask: Ask) -> None:
        """See how far it has come, unless it is left alone."""
        if monotonic() < self._out_until:
            return
        try:
            self._replayed = position(await ask(self.pool, REPLICA))
            self._seen_at = monotonic()
        except Exception:
            self.leave_out()

    def leave_out(self) -> None:
        """It failed: for a while nobody is sent there, and what was known of it is forgotten. It may come back as a
        copy of an older state."""
        self._out_until = monotonic() + LEFT_OUT_S
        self._replayed = 0


class Replicas:
    """The replicas of one primary, looked at while there are queries."""

    def __init__(
        self,
        primary: Pool[Any],
        replicas: Sequence[Replica],
        ask: Ask,
    ) -> None:
        self._primary = primary
        self._all = tuple(replicas)
        self._ask = ask
        self._written: deque[tuple[float, int]] = deque()
        self._looked_at = 0.0
        self._look: asyncio.Task[None] | None = None

    def choose(self, known: int) -> Replica | None:
        """The least busy replica that is fresh enough for a caller who knows of the commit at *known*; None: the
        primary."""
        now = monotonic()
        if now - self._looked_at > LOOK_S and (self._look is None or self._look.done()):
            self._look = asyncio.get_running_loop().create_task(self._look_at_all())
        while self._written and self._written[0][0] < now - STALE_S:
            self._written.popleft()
        if not self._written:
            return None
        needed = max(self._written[0][1], known)
        fresh = [one for one in self._all if one.has(needed, now)]
        return min(fresh, key=lambda one: one.pool.in_use, default=None)

    async def close(self) -> None:
        """Close every connection; queries must have ended."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait((self._look,))
        await asyncio.gather(*(one.pool.close() for one in self._all))

    async def _look_at_all(self) -> None:
        # The moment before the primary is asked: what is written afterwards is not in its answer.
        self._looked_at = monotonic()
        with suppress(Exception):
            written = position(await self._ask(self._primary, PRIMARY))
            self._written.append((self._looked_at, written))
        await asyncio.gather(*(one.look(self._ask) for one in self._all))
