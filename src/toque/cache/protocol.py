"""Which requests may be answered from memory, as a state machine: events with their times in, decisions out.

It has no clock and waits for nothing, so a test can have anything happen between any two of its events. What it
promises, and why it holds, is in decision 0027; the single rules are in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from toque.cache import rules
from toque.cache.change import Change, Overlapping
from toque.cache.decisions import Again, Answer, Decision, Hit, Look, Need, Run
from toque.cache.flights import BEFORE, Flight, Flights
from toque.cache.looks import Looks
from toque.cache.ring import RING_MAX, Ring
from toque.cache.snapshot import Snapshot

__all__ = ["Coherence", "Kept", "Seen"]


class Kept(Protocol):
    """Where answers are kept. It may forget any of them at any time."""

    def find(self, key: Hashable) -> Any | None: ...

    def keep(self, key: Hashable, value: Any, reads: Sequence[Overlapping]) -> None: ...

    def drop(self, change: Change) -> None:
        """Forget each that *change* may have changed."""

    def clear(self) -> None: ...


class Seen(Struct, frozen=True):
    """What a look found."""

    epoch: str
    """Which log it was: transactions of another one have numbers of their own."""
    snapshot: Snapshot
    changes: Sequence[Change]
    """All changes of the transactions that this snapshot sees and the one before did not."""
    is_gap: bool = False
    """Whether some of them may be missing, because the log keeps them for a while only."""
    since: Snapshot | None = None
    """After what the changes are where there was no look before, and the log still has some."""


class _Request(Struct, frozen=True):
    ticket: int
    key: Hashable
    bound_s: float
    look: int
    """The look that must have been applied before it is answered with what another request read."""


class Coherence:
    """One process's answers to one database's queries.

    A request is known by its *ticket*, a number that is not used again; times are seconds of one monotonic clock.
    Every method is one step: whoever runs it awaits nothing until the decisions are carried out or noted.
    """

    def __init__(self, kept: Kept, ring_max: int = RING_MAX) -> None:
        self._kept = kept
        self._ring = Ring(ring_max)
        self._looks = Looks()
        self._flights = Flights()
        self._waiting: dict[int, _Request] = {}
        self._requests: dict[int, _Request] = {}
        self._own_look = 0
        self._seen: Snapshot | None = None
        self._epoch = ""

    # Requests.

    def ask(self, ticket: int, key: Hashable, need: Need, now: float) -> list[Decision]:
        """A request has arrived: it is answered, joins a flight, runs the query itself, or waits for a look."""
        request = _Request(ticket, key, need.bound_s, self._look_for(need))
        self._requests[ticket] = request
        return list(self._place(request, now))

    def hurry(self, ticket: int, now: float) -> list[Decision]:
        """*ticket* has waited long enough for a look: it asks the database, unless it does so already."""
        request = self._waiting.pop(ticket, None)
        return [] if request is None else list(self._read_anew(request))

    def leave(self, ticket: int, now: float) -> list[Decision]:
        """*ticket* wants no answer any more, or its own run of the query failed as only its own can (its deadline, its
        connection). Those who wait for its flight are not affected: one of them takes over."""
        self._requests.pop(ticket, None)
        self._waiting.pop(ticket, None)
        flight = self._flights.led_by(ticket)
        if flight is None:
            # Whatever it has joined passes over it.
            return []
        self._flights.close(flight)
        return list(self._hand_over(flight, now))

    def at_once(self, key: Hashable, need: Need, now: float, look: int | None = None) -> Any | None:
        """What `ask` would answer from memory this moment, without a ticket; None where it would not.

        Args:
            look: what `look_for` said when the request arrived; None for one that arrives now.
        """
        if (self._look_for(need) if look is None else look) > self._looks.applied:
            return None
        return self._kept.find(key) if rules.is_fresh(self._looks.as_of, now, need.bound_s) else None

    def look_for(self, key: Hashable, need: Need, now: float) -> int | None:
        """The look after which what is kept under *key* is an answer to a request that arrives now. None where nothing
        is kept, or looks fail: only `ask` finds an answer then."""
        if self._looks.is_lost or self._kept.find(key) is None:
            return None
        if rules.is_fresh(self._looks.as_of, now, need.bound_s):
            return self._look_for(need)
        # A look costs less than the query.
        return max(self._own_look, rules.next_look(self._looks.started))

    def await_look(self, look: int, now: float) -> list[Decision]:
        """Somebody waits for *look*, with all others who do."""
        return [Look()] if self._looks.started < look and self._looks.want(now) else []

    def has_applied(self, look: int) -> bool:
        """Whether *look* was applied."""
        return look <= self._looks.applied

    def adopt(self, key: Hashable, value: Any, reads: Sequence[Overlapping], at: Snapshot, epoch: str) -> bool:
        """Keep what another process has kept under *key*, if it is what this one might have: whether it was.

        Args:
            at: what that process had applied when it was kept there.
        """
        if not rules.has_the_epoch(self._epoch, epoch) or not all(self._ring.holds(part, at) for part in reads):
            return False
        self._kept.keep(key, value, reads)
        return True

    # Flights.

    def begin(self, number: int, now: float) -> None:
        """The flight's snapshot is about to be taken: after this, and not before."""
        self._flights[number].begin(self._ring.position, now)

    def read(self, number: int, part: Overlapping) -> None:
        """The flight reads *part*, which may be told before or after it does; before it lands."""
        flight = self._flights[number]
        flight.read(part, self._ring)
        self._flights.detach_if_broken(flight)

    def land(
        self, number: int, value: Any, now: float, *, is_lasting: bool = True, is_shared: bool = True
    ) -> list[Decision]:
        """The flight has its answer.

        Args:
            is_lasting: whether it is one to keep; else (an error, say) it is for those who wait only.
            is_shared: whether the key holds all that the flight has observed of its caller; else it is for him alone,
                and those who joined have to ask again.
        """
        flight = self._flights[number]
        self._flights.close(flight)
        joined = [ticket for ticket in flight.joined if ticket in self._requests]
        if not rules.is_for_others(is_shared):
            for ticket in (flight.leader, *joined):
                del self._requests[ticket]
            return [Answer(flight.leader, value), *map(Again, joined)]
        if rules.may_keep(flight.broken_at, is_lasting):
            self._kept.keep(flight.key, value, flight.reads)
        held = [ticket for ticket in joined if rules.holds_for(flight.joined[ticket], flight.broken_at)]
        answers = [Answer(ticket, value) for ticket in (flight.leader, *held)]
        for answer in answers:
            del self._requests[answer.ticket]
        again = [self._requests[ticket] for ticket in joined if ticket in self._requests]
        return [*answers, *self._place_all(again, now)]

    # Looks.

    def committed(self, now: float) -> list[Decision]:
        """A command of this process was committed, and is about to be acknowledged: no request that arrives from now on
        misses it, with or without a token."""
        self._own_look = rules.next_look(self._looks.started)
        return self.wake(now)

    def wake(self, now: float) -> list[Decision]:
        """There may be news, or it is time to look."""
        return [Look()] if self._looks.want(now) else []

    def looked(self, seen: Seen, now: float) -> list[Decision]:
        """A look has come back: what it found is applied at once, before anybody is answered."""
        if rules.must_flush(self._epoch, seen.epoch, seen.is_gap):
            self._flush(seen.since or seen.snapshot)
        for change in seen.changes:
            self._apply(change)
        self._flights.detach_broken()
        self._seen, self._epoch = seen.snapshot, seen.epoch
        self._looks.apply()
        return self._resume(now)

    def lost(self, now: float) -> list[Decision]:
        """A look has failed. Until one succeeds, who would wait for one asks the database."""
        self._looks.fail()
        return self._resume(now)

    def _apply(self, change: Change) -> None:
        position = self._ring.append(change)
        self._kept.drop(change)
        for flight in self._flights.begun():
            flight.meet(change, position)

    def _flush(self, since: Snapshot) -> None:
        position = self._ring.flush(since)
        self._kept.clear()
        for flight in self._flights.begun():
            flight.flush(position)

    def _resume(self, now: float) -> list[Decision]:
        waiting, self._waiting = self._waiting, {}
        decisions = list(self._place_all(waiting.values(), now))
        return [*decisions, Look()] if self._looks.follow(now) else decisions

    # Where a request goes.

    def _look_for(self, need: Need) -> int:
        """The look that must have been applied for what is demanded."""
        is_covered = need.token is None or rules.covers(self._seen, self._epoch, need.token)
        if is_covered and not need.is_strict:
            return self._own_look
        return max(self._own_look, rules.next_look(self._looks.started))

    def _place_all(self, requests: Iterable[_Request], now: float) -> Iterator[Decision]:
        for request in requests:
            yield from self._place(request, now)

    def _place(self, request: _Request, now: float) -> Iterator[Decision]:
        flight = self._flights.joinable(request.key)
        value = self._kept.find(request.key)
        if value is None and (flight is None or flight.begun_at is None):
            yield from self._read_anew(request)
        elif self._looks.applied < request.look:
            yield from self._read_anew(request) if self._looks.is_lost else self._wait(request, now)
        elif value is not None and rules.is_fresh(self._looks.as_of, now, request.bound_s):
            del self._requests[request.ticket]
            yield Hit(request.ticket, value)
        elif flight is not None and rules.is_fresh(self._as_of(flight), now, request.bound_s):
            flight.joined[request.ticket] = self._ring.position
        else:
            yield from self._read_anew(request)

    def _hand_over(self, flight: Flight, now: float) -> Iterator[Decision]:
        """Have those who wait for *flight*, which brings nothing, be answered otherwise: if the first has to run the
        query, all others wait for him, in one step however many they are. Each of ten thousand may have to in turn."""
        joined = flight.joined
        heir = next((ticket for ticket in joined if ticket in self._requests), None)
        if heir is None:
            return
        while next(iter(joined)) != heir:
            del joined[next(iter(joined))]
        yield from self._place(self._requests[heir], now)
        del joined[heir]
        successor = self._flights.led_by(heir)
        if successor is not None:
            # Where each has joined the old one is before the new one begins: it holds for all of them.
            successor.joined = joined
        else:
            yield from self._place_all([self._requests[ticket] for ticket in joined if ticket in self._requests], now)

    def _as_of(self, flight: Flight) -> float:
        """As of when a flight's answer misses nothing: its own snapshot's time, or that of the last look, which would
        have told of a change to what it has read."""
        return max(self._looks.as_of, flight.begun_at or 0.0)

    def _read_anew(self, request: _Request) -> Iterator[Decision]:
        """Have a snapshot taken after *request* arrived: it misses nothing that any promise is about."""
        flight = self._flights.joinable(request.key)
        if flight is not None and flight.begun_at is None:
            flight.joined[request.ticket] = BEFORE
            return
        flight = self._flights.open(request.key, request.ticket)
        yield Run(request.ticket, flight.number)

    def _wait(self, request: _Request, now: float) -> Iterator[Decision]:
        self._waiting[request.ticket] = request
        yield from self.await_look(request.look, now)
