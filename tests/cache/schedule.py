"""A scheduler that has anything happen between any two steps of the protocol, and a checker of what it promises.

`choose(n)` picks one of n: from Hypothesis, which shortens what fails, or from a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from fake_mvcc import FakeMvcc, Groups, Writing, answer

from toque.cache.change import Change
from toque.cache.decisions import Again, Answer, Decision, Hit, Look, Need, Run
from toque.cache.predicates import Predicate, ReadSet
from toque.cache.protocol import Coherence, Seen
from toque.cache.snapshot import Snapshot, Token
from toque.cache.tags import Encoded, encoded

KEYS: tuple[Groups, ...] = (("a",), ("b",), ("a", "b"))
ERROR = encoded(b"error")


class Violation(AssertionError):
    """A promise was broken."""


def groups_read(groups: Sequence[str]) -> ReadSet:
    """What a query of some groups has read."""
    return ReadSet(Predicate("rows", ("group",), (group,)) for group in groups)


class AllKept:
    """The simplest place to keep answers."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, tuple[Any, Sequence[Any]]] = {}

    def find(self, key: Hashable) -> Any | None:
        found = self.kept.get(key)
        return None if found is None else found[0]

    def keep(self, key: Hashable, value: Any, reads: Sequence[Any]) -> None:
        self.kept[key] = (value, reads)

    def drop(self, change: Change) -> None:
        for key, (_, reads) in list(self.kept.items()):
            if any(part.overlaps(change) for part in reads):
                del self.kept[key]

    def clear(self) -> None:
        self.kept.clear()


@dataclass
class Asked:
    """A request, and what is demanded of its answer."""

    ticket: int
    key: Groups
    is_strict: bool
    at_least: int
    """The state that its answer must be of, or of a later one."""
    who: int
    """The caller, whom some answers are about."""
    need: Need


@dataclass
class Flying:
    """A flight as the process that runs it sees it."""

    number: int
    ticket: int
    key: Groups
    who: int
    tells_who: bool
    """Whether the key under which it flies tells who is calling."""
    is_begun: bool = False
    states: tuple[int, ...] = ()
    """The states that its statements have read."""
    told: int = 0
    """How many of its statements the cache knows of."""


@dataclass
class Shared:
    """What another process keeps, for all to take over."""

    key: tuple[Groups, int | None]
    value: Encoded
    at: Snapshot
    epoch: str


@dataclass
class Acked:
    at: float
    state: int
    token: Token
    is_own: bool


@dataclass
class Faults:
    """Rules that are not the protocol's but its surroundings', to be switched off."""

    begins_late: bool = False
    old_image: bool = True
    with_xip: bool = True
    one_snapshot: bool = True
    notes_own: bool = True


class Schedule:
    """One process with its cache, other processes' commits, and a database, in any order."""

    def __init__(
        self, choose: Callable[[int], int], faults: Faults | None = None, calm: int = 10, kept: Any = None
    ) -> None:
        """Args:
        calm: one step in so many may be a crash or the log's forgetting.
        """
        self.choose, self.calm = choose, calm
        self.faults = faults or Faults()
        self.now = 0.0
        self.db = FakeMvcc()
        self.cache = Coherence(AllKept() if kept is None else kept, ring_max=1)
        self.seen: Snapshot | None = None
        self.look: Seen | None = None
        self.is_looking = False
        self.asked: dict[int, Asked] = {}
        self.flying: list[Flying] = []
        self.unacked: list[tuple[Writing, int]] = []
        self.acked: list[Acked] = []
        self.sharing: dict[int, tuple[tuple[Groups, int | None], int]] = {}
        """Who waits for a look with others: under which key, and for which."""
        self.shared_hits = 0
        self.tickets = 0
        self.values = 0
        self.strict_floor = 0
        """The state that some strict answer was surely of: no later strict request may see an earlier one."""
        self.hits = 0
        self.has_callers = choose(3) == 2
        """Whether some queries ask who is calling."""
        self.about_callers: set[Groups] = set()
        """Queries of which some run has asked who is calling: their keys tell it from then on."""
        self.has_others = choose(3) == 1
        """Whether other processes keep answers too."""
        self.snapshots: list[Snapshot] = []
        self.shared: list[Shared] = []
        self.adopted = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            actions = self.actions()
            actions[self.choose(len(actions))]()
        self.finish()

    def finish(self) -> None:
        """Let everything under way end: everybody must have been answered."""
        for _ in range(1000):
            if self.is_looking:
                self.look_taken() if self.look is None else self.look_applied()
            elif self.flying:
                self.fly(self.flying[0], fails=False)
            elif self.sharing:
                self.share_look()
            else:
                break
        if self.asked:
            raise Violation(f"{len(self.asked)} requests were never answered")

    def actions(self) -> list[Callable[[], None]]:
        always = [self.ask] * 4 + [self.begin, self.pass_time, self.ring]
        rare = [self.db.rotate, self.crash] if self.choose(self.calm) == 0 else []
        others = [self.share, self.adopt] if self.has_others else []
        return [*always, *rare, *others, *self._of_writers(), *self._of_looks(), *self._of_flights()]

    def _of_writers(self) -> list[Callable[[], None]]:
        writers: list[Callable[[], None]] = []
        for writing in list(self.db.writing.values()):
            writers += [lambda w=writing: self.write(w), lambda w=writing: self.commit(w)]
            if self.choose(6) == 0:
                writers.append(lambda w=writing: self.db.abort(w))
        return writers + ([self.ack, self.ack] if self.unacked else [])

    def _of_looks(self) -> list[Callable[[], None]]:
        if not self.is_looking:
            return []
        if self.look is None:
            return [self.look_taken] * 2 + [self.look_lost]
        return [self.look_applied] * 2 + [self.look_lost]

    def _of_flights(self) -> list[Callable[[], None]]:
        flights: list[Callable[[], None]] = [lambda f=flight: self.fly(f) for flight in self.flying for _ in (1, 2)]
        if self.asked:
            flights += [self.leave, self.hurry]
        return flights + ([self.share_look, self.share_look] if self.sharing else [])

    # Writers.

    def begin(self) -> None:
        if len(self.db.writing) < 3 and self.choose(2):
            self.write(self.db.begin())

    def write(self, writing: Writing) -> None:
        rows = self.db.free_rows() + list(writing.rows)
        if rows:
            self.values += 1
            row = rows[self.choose(len(rows))]
            # A row rarely moves to the other group.
            group = "ab"[self.choose(2)] if self.choose(3) == 0 else "ab"[row % 2]
            self.db.write(writing, row, group, self.values, old_image=self.faults.old_image)

    def commit(self, writing: Writing) -> None:
        self.unacked.append((writing, self.db.commit(writing)))

    def ack(self) -> None:
        writing, state = self.unacked.pop(self.choose(len(self.unacked)))
        is_own = self.choose(2) == 0
        token = Token(str(self.db.generation), writing.xid)
        self.acked.append(Acked(self.now, state, token, is_own))
        if is_own and self.faults.notes_own:
            self.do(self.cache.committed(self.now))

    def crash(self) -> None:
        self.snapshots.clear()
        self.db.crash(elsewhere=self.choose(2) == 0)
        # Every connection is cut, so what was read and not yet told is lost.
        if self.is_looking:
            self.look_lost()
        for flight in [flight for flight in self.flying if flight.states]:
            self.fail(flight)

    # Requests.

    def ask(self) -> None:
        self.tickets += 1
        key = KEYS[self.choose(len(KEYS))]
        bound_s = (1.0, 0.3)[self.choose(2)]
        kind = self.choose(4)
        recent = self.acked[-2:]
        mine = recent[self.choose(len(recent))] if kind == 3 and recent else None
        need = Need(bound_s, is_strict=kind == 2, token=None if mine is None else mine.token)
        who = self.choose(2) if self.has_callers else 0
        asked = Asked(self.tickets, key, need.is_strict, self.floor(need, mine), who, need)
        self.put(asked)

    def put(self, asked: Asked) -> None:
        self.asked[asked.ticket] = asked
        key = (asked.key, asked.who if asked.key in self.about_callers else None)
        look = self.cache.look_for(key, asked.need, self.now)
        if look is None or self.choose(3) < 2:
            self.place(asked, key)
            return
        self.sharing[asked.ticket] = key, look
        self.do(self.cache.await_look(look, self.now))

    def share_look(self) -> None:
        """One of those who wait for a look goes on: some time after it, or tired of waiting."""
        ticket = list(self.sharing)[self.choose(len(self.sharing))]
        asked, (key, look) = self.asked[ticket], self.sharing.pop(ticket)
        value = self.cache.at_once(key, asked.need, self.now, look)
        if value is not None:
            self.shared_hits += 1
            self.do([Hit(ticket, value)])
            return
        self.place(asked, key)
        if not self.cache.has_applied(look):
            self.do(self.cache.hurry(ticket, self.now))

    def place(self, asked: Asked, key: tuple[Groups, int | None]) -> None:
        at_once = self.cache.at_once(key, asked.need, self.now)
        decisions = self.cache.ask(asked.ticket, key, asked.need, self.now)
        if decisions[:1] != ([] if at_once is None else [Hit(asked.ticket, at_once)]) and at_once is not None:
            raise Violation("what is answered at once is not what would be answered")
        self.do(decisions)

    def again(self, ticket: int) -> None:
        asked = self.asked.pop(ticket)
        self.tickets += 1
        asked.ticket = self.tickets
        self.put(asked)

    def floor(self, need: Need, mine: Acked | None) -> int:
        """The first state that an answer may be of."""
        late = [a.state for a in self.acked if a.at < self.now - need.bound_s or a.is_own or need.is_strict]
        return max(
            [0, *late, *([] if mine is None else [mine.state]), *([self.strict_floor] if need.is_strict else [])]
        )

    def answered(self, ticket: int, value: Any) -> None:
        asked = self.asked.pop(ticket)
        if value == ERROR:
            return
        states = self.db.states
        matching = [
            n
            for n in range(asked.at_least, len(states))
            if _encoded(self.told(answer(states[n], asked.key), asked.who)) == value
        ]
        if not matching:
            raise Violation(f"{asked} was answered {value}, at {self.now}")
        if asked.is_strict:
            self.strict_floor = max(self.strict_floor, matching[0])

    def leave(self) -> None:
        ticket = list(self.asked)[self.choose(len(self.asked))]
        del self.asked[ticket]
        self.sharing.pop(ticket, None)
        self.flying = [flight for flight in self.flying if flight.ticket != ticket]
        self.do(self.cache.leave(ticket, self.now))

    def hurry(self) -> None:
        self.do(self.cache.hurry(list(self.asked)[self.choose(len(self.asked))], self.now))

    # What other processes keep.

    def share(self) -> None:
        """Another process asks the database now; what it had applied before that may be of some time ago."""
        self.snapshots.append(self.db.snapshot())
        groups, who = KEYS[self.choose(len(KEYS))], self.choose(2)
        rows = answer(self.db.states[-1], groups)
        value = _encoded(self.told(rows, who))
        key = (groups, who if self.is_about_caller(rows) else None)
        at = self.snapshots[-1 - self.choose(min(2, len(self.snapshots)))]
        self.shared.append(Shared(key, value, at, str(self.db.generation)))

    def adopt(self) -> None:
        if self.shared:
            found = self.shared[-1 - self.choose(min(3, len(self.shared)))]
            reads = [groups_read(found.key[0])]
            self.adopted += self.cache.adopt(found.key, found.value, reads, found.at, found.epoch)

    # Flights.

    def fly(self, flight: Flying, *, fails: bool = True) -> None:
        """The next step of *flight*."""
        if not flight.is_begun:
            flight.is_begun = True
            if not self.faults.begins_late:
                self.cache.begin(flight.number, self.now)
        elif len(flight.states) < len(flight.key):
            if not self.faults.begins_late and self.choose(2):
                self.tell(flight)
            is_first = not flight.states or not self.faults.one_snapshot
            flight.states += (self.db.now if is_first else flight.states[0],)
        elif fails and self.choose(12) == 0:
            self.fail(flight)
        else:
            self.land(flight, is_error=fails and self.choose(8) == 0)

    def fail(self, flight: Flying) -> None:
        self.flying.remove(flight)
        del self.asked[flight.ticket]
        self.do(self.cache.leave(flight.ticket, self.now))

    def land(self, flight: Flying, *, is_error: bool) -> None:
        self.flying.remove(flight)
        if self.faults.begins_late:
            self.cache.begin(flight.number, self.now)
        parts = [
            answer(self.db.states[state], (group,)) for state, group in zip(flight.states, flight.key, strict=True)
        ]
        rows = sorted(row for part in parts for row in part)
        value = ERROR if is_error else _encoded(self.told(rows, flight.who))
        if self.is_about_caller(rows):
            self.about_callers.add(flight.key)
        is_shared = flight.tells_who or not self.is_about_caller(rows)
        while flight.told < len(flight.key):
            self.tell(flight)
        self.do(self.cache.land(flight.number, value, self.now, is_lasting=not is_error, is_shared=is_shared))

    def tell(self, flight: Flying) -> None:
        """The process says what *flight* reads, one statement at a time, sooner or later."""
        if flight.told < len(flight.key):
            self.cache.read(flight.number, groups_read(flight.key[flight.told]))
            flight.told += 1

    def is_about_caller(self, rows: Sequence[Any]) -> bool:
        """Whether a query that finds *rows* goes on to ask who is calling: on one branch only."""
        return self.has_callers and any(row == 3 for row, _, _ in rows)

    def told(self, rows: Sequence[Any], who: int) -> list[Any]:
        """What the query of *who* answers that has found *rows*."""
        return [*rows, who] if self.is_about_caller(rows) else [*rows]

    # Looks.

    def ring(self) -> None:
        self.do(self.cache.wake(self.now))

    def look_taken(self) -> None:
        self.look = self.db.look(self.seen, with_xip=self.faults.with_xip, looks_back=self.has_others)

    def look_applied(self) -> None:
        assert self.look is not None
        look, self.look, self.is_looking = self.look, None, False
        self.seen = look.snapshot
        self.do(self.cache.looked(look, self.now))

    def look_lost(self) -> None:
        self.look, self.is_looking = None, False
        self.do(self.cache.lost(self.now))

    def pass_time(self) -> None:
        self.now += (0.02, 0.02, 0.1, 0.7)[self.choose(4)]

    def do(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Hit(ticket, value):
                    self.hits += 1
                    if value == ERROR:
                        raise Violation("an error was kept")
                    self.answered(ticket, value)
                case Answer(ticket, value):
                    self.answered(ticket, value)
                case Again(ticket):
                    self.again(ticket)
                case Run(ticket, flight):
                    asked = self.asked[ticket]
                    _, who = self.cache._flights[flight].key  # type: ignore[misc]
                    self.flying.append(Flying(flight, ticket, asked.key, asked.who, who is not None))
                case Look():
                    assert not self.is_looking, "one look at a time"
                    self.is_looking = True


def _encoded(rows: Sequence[Any]) -> Encoded:
    # Without a tag, which costs more than all the rest here.
    return Encoded(repr(list(rows)).encode(), "")
