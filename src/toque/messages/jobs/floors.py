"""Where a look for jobs may begin, so that it does not walk over all that was claimed before (decision 0040).

PostgreSQL keeps what was deleted as long as any snapshot is older, a backup's for an hour say, and whoever looks for
the first job of a queue walks over it. So this process remembers, for each priority, a floor: a position below which
nothing waits, as far as it knows. A floor is a hint and no promise: a job that comes back keeps its position, and may
be below. Every so often a look begins at the beginning and takes nothing for granted; how often depends on what that
costs. Where it costs next to nothing, as a rule, there are no floors at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic

import msgspec
from msgspec import Struct

from toque.log.pace import Pace

__all__ = ["WHOLE", "First", "Floors"]

SHALLOW_S = 0.002
"""A look of this length walks over some thousands that are gone: no more than are claimed between two vacuums."""

SHARE = 40
"""A whole look that took a second is taken again after forty, or PAUSE_MAX_S: a fortieth of the time, which nobody
notices."""

PAUSE_MAX_S = 30.0
"""Nobody waits longer than that for what only a whole look finds, however long it took. It may also only seem to have
taken long: it is timed by a clock that can be set, or go on while a machine sleeps."""

LOW_S = 1.0
"""How long it is remembered that something may have come back below the floor: what frees it is written until then."""

LATE_S = 2.0
"""What is to come later and is committed longer than that after its time is found by a whole look."""

PRIORITIES_MAX = 20
"""Floors of one queue. Jobs of more priorities than that share one."""

GIVEN_MAX = 1000
"""Looks that are remembered until all transactions of their time have ended: twenty seconds of them."""

LOWEST, BEYOND = -(2**31), 2**31 - 1
"""Ranks that no job has: a rank is a priority, turned round, so that what goes first comes first."""

NO_POS = 2**63 - 1


class First(Struct, frozen=True, array_like=True):
    """The first job that waits at or after a floor."""

    queue: str
    floor_rank: int
    rank: int
    pos: int
    is_open: bool
    """Whether its queue is not paused."""


class _Floor(Struct, array_like=True):
    rank: int
    pos: int


class _Place(Struct, frozen=True):
    """From a floor up to the next rank that has one, as the statements take it."""

    queue: str
    rank: int
    pos: int
    below: int


WHOLE = msgspec.json.encode([_Place("", LOWEST, 0, BEYOND)]).decode()
"""A queue from its beginning to its end, whichever it is."""


class Floors:
    """The floors of the queues that one process works on."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._pace = Pace(SHARE, PAUSE_MAX_S)
        self.is_deep = False
        """Whether a look that begins at the beginning walks over much."""
        # With the priority that a job has unless it is told another: also who never finds one stops walking over them.
        self._floors = {queue: [_Floor(LOWEST, 0), _Floor(0, 0)] for queue in queues}
        self._low: dict[str, int] = {}
        self._low_before: dict[str, int] = {}
        self._low_since = monotonic()
        # Positions are given before their transactions end: below one everything can be seen when every transaction
        # that was under way when it was the last has ended.
        self._last = 0
        self.due_from = 0.0
        """A time before which nothing is to come later, as far as is known, in seconds since 1970."""
        self._given: deque[tuple[int, int]] = deque(maxlen=GIVEN_MAX)
        self._seen = 0

    @property
    def is_whole_due(self) -> bool:
        """Whether the next look is to begin at the beginning."""
        return not self.is_deep or self._pace.pause_s() <= 0

    @property
    def whole_in_s(self) -> float:
        """The seconds until one is."""
        return self._pace.pause_s() if self.is_deep else 0.0

    def forget(self) -> None:
        """Have the next look begin at the beginning."""
        self.is_deep = False

    def lower(self, queue: str, pos: int) -> None:
        """Something at *pos*, or after it, may have come back."""
        self._low[queue] = min(pos, self._low.get(queue, pos))

    def places(self, queues: Sequence[str], *, is_whole: bool = False) -> str:
        """Where to look for the jobs of *queues*, as JSON."""
        is_whole |= not self.is_deep
        places: list[_Place] = []
        for queue in queues:
            low = 0 if is_whole else min(self._low.get(queue, NO_POS), self._low_before.get(queue, NO_POS))
            floors = self._floors[queue]
            belows = [*(floor.rank for floor in floors[1:]), BEYOND]
            places += [
                _Place(queue, floor.rank, min(floor.pos, low), below)
                for floor, below in zip(floors, belows, strict=True)
            ]
        return msgspec.json.encode(places).decode()

    def learn(self, firsts: Sequence[First], *, is_whole: bool, took_s: float, last: int, xmin: int, xmax: int) -> None:
        """Take in what a look at `places` has found.

        Args:
            firsts: the first job of each place that has one.
            took_s: the time it took the server.
            last: the last position that was given to a job, by whomever.
            xmin: the first transaction that has not ended (`pg_snapshot`).
            xmax: the first that has not begun.
        """
        if is_whole:
            self.is_deep = took_s > SHALLOW_S
            self._pace.note(took_s)
        self._see(last, xmin, xmax)
        if monotonic() - self._low_since > LOW_S:
            self._low_before, self._low, self._low_since = self._low, {}, monotonic()
        for queue, floors in self._floors.items():
            self._floors[queue] = self._raised(
                floors, {each.floor_rank: each for each in firsts if each.queue == queue}
            )

    def learn_due(self, now: float, due_s: float | None) -> None:
        """Take in that the first job which is to come later does in *due_s* seconds from *now*, or none does."""
        self.due_from = now + min(due_s or 0.0, 0.0) - LATE_S

    def give_up(self, took_s: float) -> None:
        """Say that a look which began at the beginning was stopped after *took_s*: go on from the floors."""
        self.is_deep = True
        self._pace.note(took_s)

    def meet(self, queue: str, priority: int) -> None:
        """Have a floor for *priority*, which jobs of *queue* have."""
        floors, rank = self._floors[queue], -priority
        if len(floors) < PRIORITIES_MAX and all(floor.rank != rank for floor in floors):
            floors.append(_Floor(rank, 0))
            floors.sort(key=lambda floor: floor.rank)

    def _see(self, last: int, xmin: int, xmax: int) -> None:
        if last < self._last:  # Another database is in its place, or an older one.
            self._given.clear()
            self._last = self._seen = 0
        # With the end of a look that came after it: whoever had a position had begun by then.
        self._given.append((self._last, xmax))
        self._last = last
        while self._given and self._given[0][1] <= xmin:
            self._seen = self._given.popleft()[0]

    def _raised(self, floors: Sequence[_Floor], firsts: dict[int, First]) -> list[_Floor]:
        raised: list[_Floor] = []
        for floor in floors:
            first = firsts.get(floor.rank)
            if first is None or first.rank != floor.rank:
                raised.append(_Floor(floor.rank, self._seen + 1))
            if first is not None:
                raised.append(_Floor(first.rank, min(first.pos, self._seen + 1)))
        return raised if len(raised) <= PRIORITIES_MAX else list(floors)
