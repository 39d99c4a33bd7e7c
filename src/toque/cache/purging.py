"""Telling the cache in front what has changed: one process follows the log for all, and says each thing at least twice.

Whoever takes over, or has lost the log, says that every table has changed: what was said before him he need not know,
so nothing of it is written down. What was found out before a change can reach the cache after it was told of that, so
each name is said again when no call can be under way any more that began before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence, Set
from time import monotonic
from typing import Protocol

from toque.cache.change import Change
from toque.cache.changes import Changes
from toque.cache.groups import groups_of_change, table_group
from toque.cache.snapshot import Snapshot
from toque.call.turns import Turns
from toque.log.tail import Tail

__all__ = ["CLAIM", "Purging", "Target"]

log = logging.getLogger("toque.cache")

CLAIM = "purge edge"

LOOK_S = 1.0
"""How soon what rings no bell is seen, as psql's commits do not."""

CLAIM_S = 2.0
"""How often who does not do it asks whether somebody still does: so long nothing is said when he ends."""

BATCH_MAX = 256
"""Names in one request, which is what Fastly takes (its documentation, "Purging with surrogate keys")."""

NAMES_MAX = 20_000
"""Names that wait to be said. Where there are more, all tables' are said in their place."""

AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""How soon what could not be said is said again, twice as long each time."""


class Target(Protocol):
    """The cache in front."""

    async def send(self, names: Sequence[str]) -> None:
        """Have forgotten what bears one of *names*. Raises: Error."""

    async def close(self) -> None:
        """Let go of everything."""


class Purging:
    """One process's part in it.

    Args:
        tables: those whose changes are told, by name, each with the columns that tell its rows apart.
        again_s: how long an answer that was begun before a change can take to reach the cache.
        tail: by which one process is chosen; without one, each that there is does all.
    """

    def __init__(
        self, changes: Changes, tables: Mapping[str, Set[str]], target: Target, again_s: float, tail: Tail | None
    ) -> None:
        self.said = 0
        """How many names were said."""
        self.failures = 0
        """How often it could not."""
        self._changes = changes
        self._tables = tables
        self._all = frozenset(map(table_group, tables))
        self._target = target
        self._again_s = again_s
        self._tail = tail
        self._snapshot: Snapshot | None = None
        self._epoch = ""
        self._due: dict[str, None] = {}
        self._later: deque[tuple[float, frozenset[str]]] = deque()
        trouble = "the cache in front could not be told what changed"
        self._turns = Turns(self._turn, log, trouble, again_s=AGAIN_S, again_max_s=AGAIN_MAX_S)
        if tail is not None:
            tail.on_news(self._turns.wake)

    def start(self) -> None:
        self._turns.start()

    async def stop(self) -> None:
        """Say no more; whoever takes over says it all."""
        await self._turns.stop()
        await self._target.close()

    @property
    def waiting(self) -> int:
        """How many names are to be said now."""
        return len(self._due)

    def wake(self) -> None:
        """There may be news."""
        self._turns.wake()

    async def _turn(self) -> float:
        if self._tail is not None and not await self._tail.claim(CLAIM):
            self._forget()
            await asyncio.sleep(CLAIM_S)
            return 0.0
        try:
            await self._look()
            await self._say()
        except Exception:
            self.failures += 1
            raise
        return LOOK_S if not self._later else max(0.0, min(LOOK_S, self._later[0][0] - monotonic()))

    async def _look(self) -> None:
        began = monotonic()
        seen = await self._changes.look(self._snapshot)
        if seen.epoch != self._epoch or seen.is_gap:
            found = self._all
        else:
            found = frozenset().union(*map(self._groups, seen.changes))
        self._snapshot, self._epoch = seen.snapshot, seen.epoch
        if found:
            self._due |= dict.fromkeys(found)
            self._later.append((began + self._again_s, found))
        while self._later and self._later[0][0] <= began:
            self._due |= dict.fromkeys(self._later.popleft()[1])
        if len(self._due) + sum(len(names) for _, names in self._later) > NAMES_MAX:
            self._due = dict.fromkeys(self._all)
            self._later = deque([(began + self._again_s, self._all)])

    def _groups(self, change: Change) -> Set[str]:
        columns = self._tables.get(change.table)
        return self._all if columns is None else groups_of_change(change, columns)

    async def _say(self) -> None:
        while self._due:
            names = list(self._due)[:BATCH_MAX]
            await self._target.send(names)
            self.said += len(names)
            for name in names:
                del self._due[name]

    def _forget(self) -> None:
        """Somebody else does it; if he ends, begin with everything."""
        self._snapshot, self._epoch = None, ""
        self._due.clear()
        self._later.clear()
