"""The protocol step by step: what the checker of `schedule.py` has no word for."""

from __future__ import annotations

from typing import Any

import pytest
from schedule import AllKept, groups_read

from toque.cache.change import Change
from toque.cache.decisions import Again, Answer, Hit, Look, Need, Run
from toque.cache.protocol import Coherence, Seen
from toque.cache.ring import RING_MAX
from toque.cache.snapshot import Snapshot, Token

DEFAULT, STRICT = Need(1.0), Need(1.0, is_strict=True)
A = ("a",)


def _cache() -> Coherence:
    """A cache that has looked once, at 0 s."""
    cache = Coherence(AllKept())
    cache.wake(0.0)
    assert cache.looked(_seen(1), 0.0) == []
    return cache


def _seen(xmax: int, *changes: Change) -> Seen:
    return Seen("one", Snapshot(xmax, xmax), changes)


def _changed(group: str) -> Change:
    return Change("rows", ({"group": group},))


def _fill(cache: Coherence, ticket: int = 1, value: Any = "value") -> None:
    assert cache.ask(ticket, A, DEFAULT, 0.0) == [Run(ticket, 1)]
    cache.begin(1, 0.0)
    cache.read(1, groups_read("a"))
    assert cache.land(1, value, 0.0) == [Answer(ticket, value)]


def test_a_second_request_is_answered_from_memory() -> None:
    cache = _cache()
    _fill(cache)

    assert cache.ask(2, A, DEFAULT, 0.5) == [Hit(2, "value")]


def test_nothing_is_served_from_memory_after_the_bound_without_a_look() -> None:
    cache = _cache()
    _fill(cache)

    assert cache.ask(2, A, DEFAULT, 1.5) == [Run(2, 2)]


def test_strict_requests_share_one_look_and_at_most_one_follows() -> None:
    cache = _cache()
    _fill(cache)

    decisions = [cache.ask(ticket, A, STRICT, 0.1) for ticket in (2, 3, 4)]

    assert decisions == [[Look()], [], []], "the second and third wait for the one that follows"
    assert cache.looked(_seen(1), 0.2) == [Hit(2, "value"), Look()]
    assert cache.looked(_seen(1), 0.3) == [Hit(3, "value"), Hit(4, "value")]


def test_a_strict_request_for_what_nobody_keeps_waits_for_nothing() -> None:
    cache = _cache()

    assert cache.ask(1, A, STRICT, 0.1) == [Run(1, 1)]


def test_a_ring_during_a_look_has_another_one_follow() -> None:
    cache = _cache()

    assert cache.wake(0.1) == [Look()]
    assert cache.wake(0.1) == []
    assert cache.looked(_seen(1), 0.2) == [Look()]
    assert cache.looked(_seen(1), 0.3) == []


def test_a_token_that_is_covered_waits_for_nothing() -> None:
    cache = _cache()
    _fill(cache)

    assert cache.ask(2, A, Need(1.0, token=Token("one", 0)), 0.1) == [Hit(2, "value")]
    assert cache.ask(3, A, Need(1.0, token=Token("one", 7)), 0.1) == [Look()]


def test_a_forged_token_costs_one_look_and_no_more() -> None:
    cache = _cache()
    _fill(cache)

    assert cache.ask(2, A, Need(1.0, token=Token("one", 2**62)), 0.1) == [Look()]
    assert cache.looked(_seen(1), 0.2) == [Hit(2, "value")]


def test_ten_thousand_requests_are_one_query() -> None:
    cache = _cache()
    cache.ask(1, A, DEFAULT, 0.0)

    assert [cache.ask(ticket, A, DEFAULT, 0.0) for ticket in range(2, 10_001)] == [[]] * 9_999
    cache.begin(1, 0.0)
    cache.read(1, groups_read("a"))
    assert len(cache.land(1, "value", 0.0)) == 10_000


def test_a_change_ends_joining_but_not_waiting() -> None:
    cache = _cache()
    cache.ask(1, A, DEFAULT, 0.0)
    cache.begin(1, 0.0)
    cache.read(1, groups_read("a"))
    cache.ask(2, A, DEFAULT, 0.0)
    cache.wake(0.1)
    cache.looked(_seen(2, _changed("a")), 0.1)

    assert cache.ask(3, A, DEFAULT, 0.1) == [Run(3, 2)], "a newcomer starts anew"
    assert cache.land(1, "before", 0.1) == [Answer(1, "before"), Answer(2, "before")]
    assert cache.ask(4, A, DEFAULT, 0.1) == [], "and nothing was kept: the fourth waits for the third"


def test_who_came_after_a_change_that_was_noticed_late_asks_again() -> None:
    cache = _cache()
    cache.ask(1, A, DEFAULT, 0.0)
    cache.begin(1, 0.0)
    cache.wake(0.1)
    cache.looked(_seen(2, _changed("a")), 0.1)
    assert cache.ask(2, A, DEFAULT, 0.1) == [], "nobody knows yet that the flight reads what has changed"
    cache.read(1, groups_read("a"))

    assert cache.land(1, "before", 0.2) == [Answer(1, "before"), Run(2, 2)]


def test_a_leader_that_leaves_hands_over() -> None:
    cache = _cache()
    for ticket in (1, 2, 3):
        cache.ask(ticket, A, DEFAULT, 0.0)
    cache.begin(1, 0.0)

    assert cache.leave(1, 0.1) == [Run(2, 2)]
    cache.begin(2, 0.1)
    cache.read(2, groups_read("a"))
    assert cache.land(2, "value", 0.2) == [Answer(2, "value"), Answer(3, "value")]


def test_ten_thousand_who_fail_in_turn_cost_one_step_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused when its turn to run the query comes, as in a crowd without room."""
    cache, placed = _cache(), 0
    place = cache._place

    def counted(*arguments: Any) -> Any:
        nonlocal placed
        placed += 1
        return place(*arguments)

    monkeypatch.setattr(cache, "_place", counted)
    crowd = range(1, 10_001)
    for ticket in crowd:
        cache.ask(ticket, A, DEFAULT, 0.0)
    cache.leave(5_000, 0.0)
    for ticket in crowd:
        cache.begin(cache._flights.joinable(A).number, 0.0) if ticket != 5_000 else None  # type: ignore[union-attr]
        cache.leave(ticket, 0.0)

    assert placed <= 2 * len(crowd)
    assert cache._requests == cache._waiting == cache._flights._all == cache._flights._joinable == {}


def test_who_has_left_is_neither_heir_nor_answered() -> None:
    cache = _cache()
    for ticket in (1, 2, 3, 4):
        cache.ask(ticket, A, DEFAULT, 0.0)
    cache.begin(1, 0.0)
    cache.leave(2, 0.0)
    cache.leave(4, 0.0)

    assert cache.leave(1, 0.1) == [Run(3, 2)]
    cache.begin(2, 0.1)
    assert cache.land(2, "value", 0.2) == [Answer(3, "value")]


def test_who_waits_for_a_look_too_long_asks_the_database() -> None:
    cache = _cache()
    _fill(cache)
    cache.ask(2, A, STRICT, 0.1)

    assert cache.hurry(2, 0.6) == [Run(2, 2)]
    assert cache.hurry(2, 0.6) == []


def test_nothing_of_a_request_is_left_behind() -> None:
    cache = _cache()
    _fill(cache)
    cache.ask(2, A, STRICT, 0.1)
    cache.leave(2, 0.1)
    cache.looked(_seen(1), 0.2)
    cache.ask(3, A, DEFAULT, 0.3)

    assert cache._requests == {}
    assert cache._waiting == cache._flights._all == cache._flights._joinable == cache._flights._led == {}


def test_what_was_observed_beyond_the_key_is_told_to_nobody_else() -> None:
    cache = _cache()
    assert cache.ask(1, A, DEFAULT, 0.0) == [Run(1, 1)]
    assert cache.ask(2, A, DEFAULT, 0.0) == []
    cache.begin(1, 0.0)
    assert cache.ask(3, A, DEFAULT, 0.1) == []

    assert cache.land(1, "for 1 alone", 0.2, is_shared=False) == [Answer(1, "for 1 alone"), Again(2), Again(3)]

    assert cache.at_once(A, DEFAULT, 0.2) is None
    assert cache.ask(4, A, DEFAULT, 0.2) == [Run(4, 2)]


def test_what_may_be_answered_at_once_is_what_would_be_answered() -> None:
    cache = _cache()
    _fill(cache)

    assert cache.at_once(A, DEFAULT, 0.5) == "value"
    assert cache.at_once(A, STRICT, 0.5) is None
    assert cache.at_once(A, DEFAULT, 1.5) is None, "it is too long since the last look"
    assert cache.at_once(A, Need(1.0, token=Token("one", 7)), 0.5) is None
    cache.committed(0.6)
    assert cache.at_once(A, DEFAULT, 0.6) is None, "a commit of this process is not applied yet"


def test_what_the_ring_has_forgotten_counts_as_changed() -> None:
    cache = _cache()
    assert cache.ask(1, A, DEFAULT, 0.0) == [Run(1, 1)]
    cache.begin(1, 0.0)
    cache.wake(0.1)
    # The one that matters is the first, and no longer there when the flight says what it reads.
    cache.looked(_seen(2, _changed("a"), *[_changed("b")] * RING_MAX), 0.1)
    cache.read(1, groups_read("a"))
    assert cache.land(1, "old", 0.2) == [Answer(1, "old")]

    assert cache.ask(2, A, DEFAULT, 0.3) == [Run(2, 2)]


def test_a_flight_within_the_reach_of_the_ring_is_kept() -> None:
    cache = _cache()
    assert cache.ask(1, A, DEFAULT, 0.0) == [Run(1, 1)]
    cache.begin(1, 0.0)
    cache.wake(0.1)
    cache.looked(_seen(2, *[_changed("b")] * RING_MAX), 0.1)
    cache.read(1, groups_read("a"))
    cache.land(1, "new", 0.2)

    assert cache.ask(2, A, DEFAULT, 0.3) == [Hit(2, "new")]
