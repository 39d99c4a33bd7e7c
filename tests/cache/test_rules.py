"""The protocol under a scheduler that has anything happen at any time, and the same without each of its rules."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedule import AllKept, Faults, Schedule, Violation

from toque.cache import rules
from toque.cache.entries import ENTRY_BYTES, PREDICATE_BYTES, Entries
from toque.cache.flights import Flight
from toque.cache.protocol import Coherence

STEPS = 300
SEEDS = 3000
"""How many schedules are tried before a rule counts as superfluous; the hardest to catch took a few hundred."""


class _Chosen:
    """Choices from a list, and then always the first: a shorter list is a simpler schedule."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = iter(numbers)

    def __call__(self, n: int) -> int:
        return next(self._numbers, 0) % n


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 255), max_size=600))
def test_no_order_of_events_breaks_a_promise(numbers: list[int]) -> None:
    Schedule(_Chosen(numbers)).run(STEPS)


def test_long_schedules_break_no_promise() -> None:
    hits = shared_hits = adopted = 0
    for seed in range(150):
        schedule = Schedule(Random(seed).randrange)
        schedule.run(STEPS)
        hits += schedule.hits
        shared_hits += schedule.shared_hits
        adopted += schedule.adopted

    assert hits > 150, "answers are given from memory at all"
    assert shared_hits > 40, "also after a look that many waited for"
    assert adopted > 150, "and taken over from other processes"


def test_entries_of_bounded_room_break_no_promise() -> None:
    evicted = 0
    for seed in range(100):
        # An entry takes an eighth of all room at most; there is room for eight and, with two predicates each, for less.
        entries = Entries(8 * (ENTRY_BYTES + 2 * PREDICATE_BYTES + 200))
        Schedule(Random(seed).randrange, kept=_Crowded(entries)).run(STEPS)
        evicted += entries.evicted

    assert evicted > 0


class _Crowded:
    """Entries among many of others."""

    def __init__(self, entries: Entries) -> None:
        self.find, self.drop, self.clear = entries.find, entries.drop, entries.clear
        self._entries = entries
        self._others = 0

    def keep(self, key: Any, value: Any, reads: Any) -> None:
        self._entries.keep(key, value, reads)
        for _ in range(3):
            self._others += 1
            self._entries.keep(self._others, value, reads)


@pytest.mark.soak
def test_very_many_schedules_break_no_promise() -> None:
    for seed in range(100_000):
        Schedule(Random(seed).randrange).run(300)


def _without(name: str, always: Any) -> Callable[[pytest.MonkeyPatch], Faults]:
    """The rule *name* with the answer that would make it superfluous."""

    def remove(patch: pytest.MonkeyPatch) -> Faults:
        patch.setattr(rules, name, always)
        return Faults()

    return remove


def _on(owner: Any, name: str, instead: Any) -> Callable[[pytest.MonkeyPatch], Faults]:
    def remove(patch: pytest.MonkeyPatch) -> Faults:
        patch.setattr(owner, name, instead)
        return Faults()

    return remove


def _outside(**fault: bool) -> Callable[[pytest.MonkeyPatch], Faults]:
    return lambda _: Faults(**fault)


def _fail_all(self: Coherence, ticket: int, now: float) -> list[Any]:
    """Whoever waited for the flight is forgotten with its leader."""
    self._requests.pop(ticket, None)
    self._waiting.pop(ticket, None)
    flight = self._flights.led_by(ticket)
    if flight is not None:
        self._flights.close(flight)
    return []


def _answer_as_waited(self: Coherence, now: float) -> list[Any]:
    """Who waits for a look goes on waiting when it fails."""
    self._looks.fail()
    return []


def _at_any_time(self: Coherence, key: Any, need: Any, now: float, look: int | None = None) -> Any:
    """Who was told the number of his look is answered without it."""
    return self._kept.find(key) if look is not None or self._look_for(need) <= self._looks.applied else None


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], Faults]] = {
    "an answer is kept although what it read has changed": _without("may_keep", lambda broken, lasting: lasting),
    "an error is kept": _without("may_keep", lambda broken, lasting: broken is None),
    "what one caller was told is told to others": _without("is_for_others", lambda shared: True),
    "the watch begins after the snapshot": _outside(begins_late=True),
    "the ring is trusted beyond its reach": _without("reaches", lambda low, position: True),
    "another log is taken for the same": _without("must_flush", lambda epoch, found, is_gap: is_gap or not epoch),
    "a gap in the log is not minded": _without("must_flush", lambda epoch, found, is_gap: epoch != found),
    "what is kept is served at any age": _without("is_fresh", lambda as_of, now, bound_s: True),
    "a caller's own commit is not looked for": _without("covers", lambda seen, epoch, token: True),
    "numbers of another log are believed": _without(
        "covers", lambda seen, epoch, token: seen is not None and seen.sees(token.number)
    ),
    "strict waits for a look that is under way": _without("next_look", lambda started: started),
    "who shares a look goes on before it": _on(Coherence, "at_once", _at_any_time),
    "own commits are not waited for": _outside(notes_own=False),
    "a newcomer is answered from before his time": _without("holds_for", lambda joined, broken: True),
    "changes drop nothing": _on(AllKept, "drop", lambda self, change: None),
    "a flush drops nothing": _on(AllKept, "clear", lambda self: None),
    "a flight survives a flush": _on(Flight, "flush", lambda self, position: None),
    "a flight hears of no change": _on(Flight, "meet", lambda self, change, position: None),
    "a flight does not look back": _on(Flight, "read", lambda self, part, ring: self._reads.append(part)),
    "waiters end with their leader": _on(Coherence, "leave", _fail_all),
    "waiters end with a lost look": _on(Coherence, "lost", _answer_as_waited),
    "another process's answer is not held against what changed": _without("is_after", lambda at, number: False),
    "another process's answer is believed beyond the ring's reach": _without(
        "reaches_back", lambda since, forgotten, at: True
    ),
    "another log's answers are believed": _without("has_the_epoch", lambda epoch, found: True),
    "the old image is not captured": _outside(old_image=False),
    "transactions under way are passed over": _outside(with_xip=False),
    "statements read states of their own": _outside(one_snapshot=False),
}


@pytest.mark.parametrize("rule", MUTATIONS)
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = MUTATIONS[rule](monkeypatch)

    for seed in range(SEEDS):
        try:
            # Every second one is stormy.
            Schedule(Random(seed).randrange, faults, calm=(10, 3)[seed % 2]).run(STEPS)
        except Violation:
            return
    pytest.fail(f"{SEEDS} schedules saw nothing wrong although {rule}")
