"""Queries under way: each is run once for all that ask for it meanwhile."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from toque.cache import rules
from toque.cache.change import Change, Overlapping
from toque.cache.ring import Ring

__all__ = ["Flight", "Flights"]

BEFORE = -1
"""The position at which those join who come before the flight's snapshot: no change is later than that for them."""


class Flight:
    """One run of a query."""

    def __init__(self, number: int, key: Hashable, leader: int) -> None:
        self.number = number
        self.key = key
        self.leader = leader
        self.joined: dict[int, int] = {}
        """Those who wait for it beside its leader, and the position at which each came; also who has left since."""
        self.begun_at: float | None = None
        """When its snapshot was about to be taken; None as long as it was not."""
        self.start = 0
        """What was applied by then (`p0`)."""
        self.broken_at: int | None = None
        """The position of the first change to what it has read, as far as that is known."""
        self._reads: list[Overlapping] = []

    @property
    def reads(self) -> tuple[Overlapping, ...]:
        return tuple(self._reads)

    def begin(self, position: int, now: float) -> None:
        self.start, self.begun_at = rules.starts_at(position), now

    def read(self, part: Overlapping, ring: Ring) -> None:
        """It reads *part*, and maybe has for a while: what was applied since it began is looked through."""
        self._reads.append(part)
        if self.begun_at is not None:
            self._break(ring.first_overlap(part, self.start))

    def meet(self, change: Change, position: int) -> None:
        if any(part.overlaps(change) for part in self._reads):
            self._break(position)

    def flush(self, position: int) -> None:
        self._break(position)

    def _break(self, position: int | None) -> None:
        if position is not None:
            self.broken_at = position if self.broken_at is None else min(position, self.broken_at)


class Flights:
    """All flights, and for each key the one that may be joined."""

    def __init__(self) -> None:
        self._all: dict[int, Flight] = {}
        self._joinable: dict[Hashable, Flight] = {}
        self._led: dict[int, Flight] = {}
        self._numbers = 0

    def __getitem__(self, number: int) -> Flight:
        return self._all[number]

    def open(self, key: Hashable, leader: int) -> Flight:
        """A flight for *key* that has not begun; from now on it is the one that may be joined."""
        self._numbers += 1
        flight = Flight(self._numbers, key, leader)
        self._all[flight.number] = self._joinable[key] = self._led[leader] = flight
        return flight

    def joinable(self, key: Hashable) -> Flight | None:
        return self._joinable.get(key)

    def close(self, flight: Flight) -> None:
        del self._all[flight.number], self._led[flight.leader]
        self._detach(flight)

    def led_by(self, ticket: int) -> Flight | None:
        """The flight whose leader *ticket* is."""
        return self._led.get(ticket)

    def begun(self) -> Iterator[Flight]:
        return (flight for flight in self._all.values() if flight.begun_at is not None)

    def detach_broken(self) -> None:
        """Let nobody join any more what was changed; those who wait already are told when it lands."""
        for flight in self._all.values():
            self.detach_if_broken(flight)

    def detach_if_broken(self, flight: Flight) -> None:
        if flight.broken_at is not None:
            self._detach(flight)

    def _detach(self, flight: Flight) -> None:
        if self._joinable.get(flight.key) is flight:
            del self._joinable[flight.key]
