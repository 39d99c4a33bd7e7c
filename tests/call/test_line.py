"""The line against a model that is simple and slow, and its rules one by one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from toque.call.line import CALM_S, PACE_MIN_S, PATIENCE_S, SURPRISE_MAX, Line, Place
from toque.contract.operation import Priority

CRITICAL, NORMAL, SHEDDABLE = Priority


def place(name: str, *, at: float = 0.0, tenant: str = "", priority: Priority = NORMAL, within: float = inf) -> Any:
    return Place(name, tenant=tenant, priority=priority, since=at, deadline=at + within)


def joined(line: Line[str], *places: Place[str]) -> list[str]:
    """Those who were refused while *places* joined."""
    return [refused.item for each in places if (refused := line.join(each)) is not None]


def served(line: Line[str], at: float = 0.0) -> list[str]:
    """All who wait, in the order of their turns."""
    order = []
    while (found := line.next(at)[0]) is not None:
        order.append(found.item)
    return order


def test_a_calm_line_goes_oldest_first() -> None:
    line: Line[str] = Line(1, 9)
    joined(line, place("a"), place("b"), place("c"))

    assert served(line) == ["a", "b", "c"]


def test_a_line_that_has_refused_somebody_goes_newest_first() -> None:
    line: Line[str] = Line(1, 3)
    refused = joined(line, place("a"), place("b"), place("c"), place("d"))

    assert refused == ["d"]
    assert served(line) == ["c", "b", "a"]


def test_a_long_line_that_has_room_for_all_goes_oldest_first() -> None:
    line: Line[str] = Line(1, 64)
    joined(line, *(place(f"{i}") for i in range(64)))

    assert served(line, at=10.0) == [f"{i}" for i in range(64)]


def test_an_overloaded_line_stays_so_until_who_waits_can_be_served_soon() -> None:
    line = paced(CALM_S * 0.4, waiting_max=4)
    refused = joined(line, *(place(f"{i}") for i in range(5)))
    assert refused == ["4"]

    assert [line.next(CALM_S * times)[0].item for times in (1.2, 1.6, 2.0)] == ["3", "2", "0"]  # type: ignore[union-attr]


def test_a_line_that_has_refused_nobody_for_a_while_is_calm_again() -> None:
    line: Line[str] = Line(1, 3)
    joined(line, place("a"), place("b"), place("c"), place("d"))

    assert served(line, at=CALM_S * 1.5) == ["a", "b", "c"]


def test_tenants_take_turns() -> None:
    line: Line[str] = Line(1, 9)
    joined(line, *(place(f"hog{i}", tenant="hog") for i in range(3)), place("small", tenant="small"))

    assert served(line) == ["hog0", "small", "hog1", "hog2"]


@pytest.mark.parametrize(("is_overloaded", "first_out"), [(False, "hog3"), (True, "hog0")])
def test_who_asks_for_most_loses_what_would_be_served_last(is_overloaded: bool, first_out: str) -> None:
    line: Line[str] = Line(1, 4)
    joined(line, *(place(f"hog{i}", tenant="hog") for i in range(5 if is_overloaded else 4)))

    assert joined(line, place("small", tenant="small")) == [first_out]


def test_nobody_is_pushed_out_for_one_who_has_as_much() -> None:
    line: Line[str] = Line(1, 2)
    joined(line, place("a", tenant="a"), place("b", tenant="b"))

    assert joined(line, place("c", tenant="c")) == ["c"]


def test_who_has_waited_too_long_to_be_served_makes_room() -> None:
    line: Line[str] = Line(1, 2)
    joined(line, place("old"), place("young", at=PATIENCE_S), place("refused", at=PATIENCE_S))

    assert joined(line, place("new", at=PATIENCE_S * 1.1)) == ["old"]
    assert served(line, at=PATIENCE_S * 1.1) == ["new", "young"]


def test_asking_says_what_joining_would() -> None:
    line: Line[str] = Line(1, 1)
    joined(line, place("a"))

    assert line.refuses("", NORMAL, 0.0, inf) == "full"
    assert line.refuses("", CRITICAL, 0.0, inf) is None
    assert joined(line, place("b"), place("c", priority=CRITICAL)) == ["b", "a"]


@pytest.mark.parametrize("how", ["leave", "next"])
def test_who_was_refused_is_looked_at_anew_when_the_line_has_changed(how: str) -> None:
    line: Line[str] = Line(1, 4)
    first = place("b1", tenant="b")
    joined(line, first, *(place(name, tenant=name[0]) for name in ("b2", "a1", "a2")))
    assert line.refuses("b", NORMAL, 0.0, inf) == line.refuses("b", NORMAL, 0.0, inf) == "full"

    if how == "leave":
        line.leave(first)
    else:
        assert line.next(0.0)[0] is not None
    joined(line, place("a3", tenant="a"))

    assert line.refuses("b", NORMAL, 0.0, inf) is None


def test_what_matters_goes_first_and_what_does_not_is_refused_first() -> None:
    line: Line[str] = Line(1, 3)
    refused = joined(
        line,
        place("shed1", priority=SHEDDABLE),
        place("shed2", priority=SHEDDABLE),
        place("normal1"),
        place("critical1", priority=CRITICAL),
        place("critical2", priority=CRITICAL),
        place("shed3", priority=SHEDDABLE),
    )

    assert refused == ["shed2", "shed1", "shed3"]
    assert served(line) == ["critical2", "critical1", "normal1"]


def paced(pace_s: float, slots: int = 1, waiting_max: int = 9) -> Line[str]:
    """An empty line whose slots have become free every *pace_s*."""
    line: Line[str] = Line(slots, waiting_max)
    for turn in range(200):
        at = turn * pace_s - 200 * pace_s
        joined(line, place("measure", at=at))
        line.next(at + pace_s)
    return line


def test_the_pace_is_measured() -> None:
    assert paced(0.02).pace_s == pytest.approx(0.02)


def test_who_cannot_be_served_in_time_is_refused_at_once() -> None:
    line = paced(0.1)

    assert joined(line, *(place(f"{i}", within=0.35) for i in range(4))) == ["3"]


def test_an_empty_line_takes_anybody_so_that_a_wrong_measurement_cannot_last() -> None:
    line = paced(10.0)

    assert joined(line, place("a", within=0.1)) == []


def test_what_grew_late_in_the_line_is_refused_and_the_next_one_served() -> None:
    line = paced(0.001)
    joined(line, place("late", within=0.05), place("later", within=5.0))

    found, late = line.next(0.06)

    assert (found and found.item, [each.item for each in late]) == ("later", ["late"])
    assert late[0].refused == "late"


def test_a_line_that_stands_still_refuses_who_could_not_wait_so_long_again() -> None:
    line = paced(0.001)
    joined(line, place("stuck", within=60.0))

    assert joined(line, place("short", at=3.0, within=2.0), place("long", at=3.0, within=60.0)) == ["short"]


def test_one_long_pause_is_not_taken_for_the_pace() -> None:
    line = paced(0.002, slots=10)
    joined(line, place("stuck"))
    line.next(30.0)

    assert line.pace_s <= 0.002 * (1 + SURPRISE_MAX / 80)


def test_a_lasting_change_of_pace_is_believed_within_a_few_rounds() -> None:
    line = paced(PACE_MIN_S, slots=10)
    now = 0.0
    for _ in range(400):
        joined(line, place("slow", at=now))
        now += 0.1
        line.next(now)

    assert line.pace_s == pytest.approx(0.1, rel=0.1)


def test_a_drained_line_needs_no_time() -> None:
    line = paced(0.1)
    joined(line, place("a"), place("b"))
    assert line.drain_s(0.0) == pytest.approx(0.2)

    served(line)
    assert line.drain_s(0.0) == 0.0


@dataclass
class Waiter:
    """Somebody in the model's line: a plain list, searched from end to end."""

    place: Place[int]
    order: int


class LineMachine(RuleBasedStateMachine):
    """The line does what the rules say, whatever the order of joining, leaving, serving and time."""

    WAITING_MAX, SLOTS = 5, 2

    def __init__(self) -> None:
        super().__init__()
        self.line: Line[int] = Line(self.SLOTS, self.WAITING_MAX)
        self.now = 0.0
        self.names = 0
        self.model: list[Waiter] = []
        self.turns: dict[tuple[Priority, str], int] = {}
        self.clock = 0
        self.refused = -inf
        self.gone: set[int] = set()

    @property
    def is_overloaded(self) -> bool:
        if self.now - self.refused > CALM_S and len(self.model) * self.line.pace_s <= CALM_S:
            self.refused = -inf
        return self.refused > -inf

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 0.2]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from(Priority),
        within=st.sampled_from([0.01, 0.3, inf]),
    )
    def join(self, tenant: str, priority: Priority, within: float) -> None:
        self.names += 1
        mine: Place[int] = Place(
            self.names, tenant=tenant, priority=priority, since=self.now, deadline=self.now + within
        )
        is_full = len(self.model) == self.WAITING_MAX
        weaker = self._weaker(mine)
        refused = self.line.join(mine)
        if refused is mine:
            assert mine.refused == "full" if is_full and not weaker else within < inf and self.model
            self.gone.add(mine.item)
        elif is_full:
            assert refused in weaker
            assert refused is not None
            assert refused.refused == "full"
            self._remove(refused)
        else:
            assert refused is None
        if refused is not None:
            self.refused = self.now
        if refused is not mine:
            self._take_turn_in_model(priority, tenant, is_new=True)
            self.model.append(Waiter(mine, self.names))

    @rule(priority=st.sampled_from(Priority))
    def ask(self, priority: Priority) -> None:
        for tenant in "abc":
            newcomer: Place[int] = Place(0, tenant=tenant, priority=priority, since=self.now, deadline=inf)
            is_refused = len(self.model) == self.WAITING_MAX and not self._weaker(newcomer)
            assert self.line.refuses(tenant, priority, self.now, inf) == ("full" if is_refused else None)
            if is_refused:
                self.refused = self.now

    @precondition(lambda self: self.model)
    @rule()
    def serve(self) -> None:
        expected = self._first()
        was_overloaded = self.is_overloaded
        found, late = self.line.next(self.now)
        for each in late:
            assert each.refused == "late"
            assert each.deadline < inf
            self._remove(each)
            self.refused = self.now
        if found is None:
            assert not self.model
            return
        assert found.refused is None
        if not late:
            assert found is expected.place
        assert self.now <= found.deadline
        assert all(waiter.place.priority >= found.priority for waiter in self.model)
        fellows = [w for w in self.model if (w.place.tenant, w.place.priority) == (found.tenant, found.priority)]
        best = max if was_overloaded or late else min
        assert best(fellows, key=lambda waiter: waiter.order).place is found
        self._remove(found)
        self._take_turn_in_model(found.priority, found.tenant, is_new=False)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        waiter = data.draw(st.sampled_from(self.model))
        self.line.leave(waiter.place)
        self.line.leave(waiter.place)
        self._remove(waiter.place)

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.line.count == len(self.model) <= self.WAITING_MAX
        assert len(self.model) + len(self.gone) == self.names

    def teardown(self) -> None:
        left = {waiter.place.item for waiter in self.model}
        while self.line.count:
            found, late = self.line.next(self.now)
            left -= {each.item for each in (*late, *([found] if found else []))}
        assert not left

    def _first(self) -> Waiter:
        important = min(waiter.place.priority for waiter in self.model)
        tenants = {waiter.place.tenant for waiter in self.model if waiter.place.priority == important}
        tenant = min(tenants, key=lambda name: self.turns[important, name])
        own = [w for w in self.model if (w.place.priority, w.place.tenant) == (important, tenant)]
        return (max if self.is_overloaded else min)(own, key=lambda waiter: waiter.order)

    def _weaker(self, newcomer: Place[int]) -> list[Place[int]]:
        """Who may have to go for *newcomer*: the last to be served of each tenant that has the most."""
        least = max((waiter.place.priority for waiter in self.model), default=Priority.CRITICAL)
        by_tenant: dict[str, list[Place[int]]] = {}
        for waiter in self.model:
            if waiter.place.priority == least:
                by_tenant.setdefault(waiter.place.tenant, []).append(waiter.place)
        most = max(map(len, by_tenant.values()), default=0)
        last = [own[0] if self.is_overloaded else own[-1] for own in by_tenant.values() if len(own) == most]
        if least > newcomer.priority:
            return last
        if least < newcomer.priority:
            return []
        is_small = len(by_tenant.get(newcomer.tenant, ())) + 1 < most
        return [each for each in last if is_small or self.now - each.since > PATIENCE_S]

    def _remove(self, place: Place[int]) -> None:
        self.model = [waiter for waiter in self.model if waiter.place is not place]
        self.gone.add(place.item)
        if not any((w.place.priority, w.place.tenant) == (place.priority, place.tenant) for w in self.model):
            self.turns.pop((place.priority, place.tenant), None)

    def _take_turn_in_model(self, priority: Priority, tenant: str, *, is_new: bool) -> None:
        """A tenant's turn comes after all others': when it comes to the line, and when it was served."""
        key = priority, tenant
        if (is_new and key not in self.turns) or (not is_new and key in self.turns):
            self.clock += 1
            self.turns[key] = self.clock


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
