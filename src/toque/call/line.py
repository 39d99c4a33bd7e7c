"""A line in front of a few slots: who comes next, and who goes when it grows too long. Pure data, no clock, no I/O.

Every place where calls wait for one another has one: the connections of a pool, SQLite's readers and its turn to
write, and the threads. Its rules:

- The more important class goes first; the least important one loses its places first.
- Within a class tenants take turns, whoever waits longest for one goes first, and who has the most places loses one
  to who has fewer. So a tenant that asks for too much is in its own way only.
- A tenant's calls go oldest first as long as there is room for all. Once somebody has been refused the line is
  overloaded: then the newest goes first, because its caller is still there, and serving the oldest would serve
  everybody just too late ("Fail at Scale", ACM Queue 13(8), 2015, "adaptive LIFO").
- Who cannot be served before their deadline is refused, as soon as that is known.
- Whoever has to be refused is refused on coming, where that costs least, rather than after a wait.

How long a turn takes is measured at the line itself, by the time between two slots that become free while somebody
waits: what never waits is never measured, and pays nothing.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Generic, Literal, TypeVar

from toque.contract.operation import Priority

__all__ = ["CALM_S", "Line", "Place", "Reason"]

T = TypeVar("T")

Reason = Literal["full", "late"]
"""Why somebody is refused: others were to go first and there is no more room, or their deadline comes too soon."""

CALM_S = 0.1
"""A line is calm again when it has refused nobody for so long, and will have served within as long whoever waits.
CoDel's interval (RFC 8289, 4.2), which the source above uses too: 100 ms."""

PATIENCE_S = 2 * CALM_S
"""Whoever has waited so long in a full line makes room for the next one: everybody newer goes first, and so it would be
served only by chance. Measured at three times the load: half a second here put the 99th percentile of what was served
at 0.6 s, and this puts it below 0.4 s."""

MEMORY_ROUNDS = 8
"""Over how many turns of all slots the pace is averaged. TCP weighs a new round trip by an eighth too (RFC 6298, 2);
here a round is one turn of each slot, for slots that become free together are one measurement."""

SURPRISE_MAX = 8
"""A pause counts for at most so many of the usual ones: a database that stood still for ten seconds says nothing about
how long the next statement takes, and one that has become slower is believed after a few turns."""

SHUT_MAX = 256
"""How many kinds of newcomers are known to be refused: a line that stands still hears of any number of tenants."""

PACE_MIN_S = 0.001
"""What is usual where nothing was measured yet, or less than this: deadlines are noticed in steps of 20 ms, so nothing
is decided by less."""


class Place(Generic[T]):
    """Somebody who waits."""

    __slots__ = ("deadline", "item", "priority", "refused", "since", "tenant")

    def __init__(self, item: T, *, tenant: str, priority: Priority, since: float, deadline: float) -> None:
        self.item = item
        self.tenant = tenant
        self.priority = priority
        self.since = since
        self.deadline = deadline
        self.refused: Reason | None = None
        """Set when the place is lost."""


class Line(Generic[T]):
    """At most *waiting_max* places in front of *slots* slots. All times are seconds on one clock that never falls."""

    def __init__(self, slots: int, waiting_max: int) -> None:
        self.slots = slots
        self.waiting_max = waiting_max
        self.count = 0
        """How many wait."""
        self.pace_s = 0.0
        """The usual time between two slots that become free; 0.0 before the first was measured."""
        self._classes: tuple[dict[str, deque[Place[T]]], ...] = tuple({} for _ in Priority)
        """The tenants of each class, in the order of their turns, and their places, oldest first."""
        self._measured = 0
        self._freed = 0.0
        self._refused = -inf
        """When somebody was refused last; -inf since the line has been calm."""
        self._shut: dict[tuple[str, Priority], float] = {}
        """Until when newcomers of a tenant and class are refused as long as the line stays as it is. Refusals come by
        the dozen between two changes, and each would look for the longest tenant anew."""

    def is_overloaded(self, now: float) -> bool:
        """Whether there is no room for all who come: from when somebody is refused until nobody has been for a while,
        and those who wait are few enough to be served in any order."""
        if now - self._refused > CALM_S and self.count * self.pace_s <= CALM_S:
            self._refused = -inf
        return self._refused > -inf

    def refuses(self, tenant: str, priority: Priority, now: float, deadline: float) -> Reason | None:
        """Why a newcomer would be refused, or None if it may join. Who asks counts as one who wanted to."""
        reason: Reason | None = None
        if self.count >= self.waiting_max and self.is_shut(tenant, priority, now):
            reason = "full"
        elif self.count and now + self.wait_s(tenant, priority, now) > deadline:
            reason = "late"
        if reason is not None:
            self._refused = now
        return reason

    def is_shut(self, tenant: str, priority: Priority, now: float) -> bool:
        """Whether a full line has no room for a newcomer, nor makes any. Who is told so counts as one who wanted to."""
        if now < self._shut.get((tenant, priority), -inf):
            self._refused = now
            return True
        if self._less_entitled(tenant, priority, now) is not None:
            return False
        self._refused = now
        last = self._last(now)
        makes_room_at = inf if last is None or last.priority < priority else last.since + PATIENCE_S
        if len(self._shut) >= SHUT_MAX:
            self._shut.clear()
        self._shut[tenant, priority] = makes_room_at
        return True

    def join(self, place: Place[T]) -> Place[T] | None:
        """Let *place* wait. Returns the place that is refused for it: it itself, another one, or none."""
        now = place.since
        place.refused = self.refuses(place.tenant, place.priority, now, place.deadline)
        if place.refused is not None:
            return place
        pushed_out = None
        if self.count >= self.waiting_max:
            pushed_out = self._less_entitled(place.tenant, place.priority, now)
            assert pushed_out is not None, "else the newcomer is refused"
            pushed_out.refused = "full"
            self._refused = now
            self.leave(pushed_out)
        if not self.count:
            self._freed = now
        self._classes[place.priority].setdefault(place.tenant, deque()).append(place)
        self.count += 1
        return pushed_out

    def next(self, now: float) -> tuple[Place[T] | None, list[Place[T]]]:
        """A slot is free: take out whose turn it is. Returns it, or None when nobody waits any more, and those who
        were found on the way and are refused, because they could not be served in time."""
        if not self.count:
            return None, []
        self._measure(now)
        late: list[Place[T]] = []
        while (tenants := self._first()) is not None:
            place = self._take_turn(tenants, now)
            if place.refused is None:
                return place, late
            self._refused = now
            late.append(place)
        return None, late

    def leave(self, place: Place[T]) -> None:
        """Take *place* out, because nobody waits in it any more. It may be gone already."""
        tenants = self._classes[place.priority]
        places = tenants.get(place.tenant)
        if places is None or place not in places:
            return
        places.remove(place)
        self.count -= 1
        self._shut.clear()
        if not places:
            del tenants[place.tenant]

    def wait_s(self, tenant: str, priority: Priority, now: float) -> float:
        """How long a newcomer has to expect to wait: a turn for each who goes first, and its own. A line that stands
        still is expected to go on doing so for as long as it has."""
        tenants = self._classes[priority]
        own = 0 if self.is_overloaded(now) else len(tenants.get(tenant, ()))
        beside = sum(min(len(places), own + 1) for name, places in tenants.items() if name != tenant)
        more_important = sum(len(places) for each in self._classes[:priority] for places in each.values())
        return max((more_important + own + beside + 1) * self.pace_s, now - self._freed)

    def drain_s(self, now: float) -> float:
        """How long it will take until all who wait have had their turn: when to come again."""
        return max(self.count * self.pace_s, now - self._freed) if self.count else 0.0

    def _first(self) -> dict[str, deque[Place[T]]] | None:
        """The most important class in which somebody waits."""
        return next(filter(None, self._classes), None)

    def _take_turn(self, tenants: dict[str, deque[Place[T]]], now: float) -> Place[T]:
        """Take a place of the tenant whose turn it is: one that is late, which leaves the tenant its turn, or else
        the one that goes first."""
        tenant, places = next(iter(tenants.items()))
        is_newest_first = self.is_overloaded(now) and not self._is_late(places[0], now)
        place = places.pop() if is_newest_first else places.popleft()
        self.count -= 1
        self._shut.clear()
        if self._is_late(place, now):
            place.refused = "late"
        else:
            tenants[tenant] = tenants.pop(tenant)  # Its next turn comes after everybody else's.
        if not places:
            del tenants[tenant]
        return place

    def _is_late(self, place: Place[T], now: float) -> bool:
        """Whether it would still be at work at its deadline: a turn takes as long as all slots take to become free
        once (Little's law)."""
        return now + self.pace_s * self.slots > place.deadline

    def _less_entitled(self, tenant: str, priority: Priority, now: float) -> Place[T] | None:
        """Who makes room for a newcomer: the place that would be served last, of the tenant that has most, of the
        least important class. None when the newcomer itself is that."""
        last = self._last(now)
        if last is None or last.priority < priority:
            return None
        tenants = self._classes[last.priority]
        if last.priority > priority or len(tenants.get(tenant, ())) + 1 < len(tenants[last.tenant]):
            return last
        return last if now - last.since > PATIENCE_S else None

    def _last(self, now: float) -> Place[T] | None:
        tenants = next(filter(None, reversed(self._classes)), None)
        if tenants is None:
            return None
        longest = max(tenants.values(), key=len)
        return longest[0] if self.is_overloaded(now) else longest[-1]

    def _measure(self, now: float) -> None:
        pause_s, self._freed = now - self._freed, now
        pause_s = min(pause_s, SURPRISE_MAX * max(self.pace_s, PACE_MIN_S))
        self._measured = min(self._measured + 1, self.slots * MEMORY_ROUNDS)
        self.pace_s += (pause_s - self.pace_s) / self._measured
