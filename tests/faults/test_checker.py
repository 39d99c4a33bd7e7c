"""The checker finds each kind of broken promise, and nothing where all were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.testing.faults import Effect, Kept, Line, Rules, State, check

RULES = Rules(parts=2, ordered=frozenset({"cook"}))


def asked(id: str, *outcomes: str, is_once: bool = True) -> list[Line]:
    """The lines of a call that was asked for once an outcome."""
    lines = []
    for outcome in outcomes:
        lines.append(Line(what="asked", id=id, is_once=is_once))
        if outcome:
            told = "7" if outcome == "answered" else ""
            lines.append(Line(what=outcome, id=id, is_once=is_once, told=told))  # type: ignore[arg-type]
    return lines


def ran(id: str, *, consumer: str = "cook", key: str = "k", life: str = "n0.1", end: str = "ended") -> list[Line]:
    whose: dict[str, Any] = {"life": life, "consumer": consumer, "id": id, "key": key}
    return [Line(what="began", **whose), *([Line(what=end, **whose)] if end else [])]  # type: ignore[arg-type]


def kept(id: str, place: int = 1, **fields: Any) -> Kept:
    return Kept(**{"id": id, "key": "k", "place": place, "parts": 2, "owes": ("cook", "bill"), **fields})


def effects(*ids: str) -> list[Effect]:
    return [Effect(consumer, id, "k", place) for consumer in ("cook", "bill") for place, id in enumerate(ids)]


def rules_broken(history: Sequence[Line], state: State) -> set[str]:
    return {finding.rule for finding in check(history, state, RULES)}


ONE = State([kept("a")], effects("a"))
TWO = State([kept("a", 1), kept("b", 2)], effects("a", "b"))
NONE = State()
A = [*asked("a", "answered"), *ran("a"), *ran("a", consumer="bill")]
B = [*asked("b", "answered"), *ran("b"), *ran("b", consumer="bill")]

BAD: dict[str, tuple[str, list[Line], State]] = {
    "an acknowledged call is not there": ("lost", asked("a", "answered"), NONE),
    "a call under a key is there twice": ("twice", A, State([kept("a"), kept("a")], effects("a"))),
    "a refused call is there": ("twice", asked("a", "refused"), State([kept("a", owes=())])),
    "a call without a key is there oftener than it was asked for": (
        "twice",
        asked("a", "unknown", "refused", is_once=False),
        State([kept("a", owes=()), kept("a", owes=())]),
    ),
    "two acknowledged calls without a key are there once": (
        "lost",
        asked("a", "answered", "answered", is_once=False),
        State([kept("a", owes=())]),
    ),
    "a call is there that nobody made": ("invented", A, State([kept("a"), kept("x", owes=())], effects("a"))),
    "half of a call is there": ("torn", A, State([kept("a", parts=1)], effects("a"))),
    "one key has two answers": (
        "two answers",
        [*A, Line(what="asked", id="a", is_once=True), Line(what="answered", id="a", is_once=True, told="8")],
        ONE,
    ),
    "an effect is missing": ("missing", A, State([kept("a")], effects("a")[:1])),
    "an effect happened twice": ("effect twice", A, State([kept("a")], [*effects("a"), Effect("bill", "a", "k", 9)])),
    "an effect of nothing": ("unfounded", A, State([kept("a")], [*effects("a"), Effect("bill", "x", "k", 9)])),
    "an effect for somebody else": ("unfounded", A, State([kept("a")], [*effects("a"), Effect("wash", "a", "k", 9)])),
    "a run for what was rolled back": (
        "uncommitted",
        [*A, *asked("x", "refused"), *ran("x", consumer="bill", end="failed")],
        ONE,
    ),
    "effects in another order": ("order", [*A, *B], State(TWO.kept, effects("b", "a"))),
    "first runs in another order": ("order", [*B, *A], TWO),
    "one message in two processes at once": (
        "beside itself",
        [*A, *ran("a", consumer="bill", end=""), *ran("a", consumer="bill", life="n1.1")],
        ONE,
    ),
    "one message in one process at once": ("beside itself", [*A, *ran("a", end=""), *ran("a")], ONE),
    "two messages of one key at once": ("beside itself", [*A, *ran("a", end=""), *B], TWO),
    "the death of another process is no excuse": (
        "beside itself",
        [*A, *ran("a", end=""), Line(what="died", life="n1.1"), *ran("a", life="n1.2")],
        ONE,
    ),
    "the harm of a third process is no excuse": (
        "beside itself",
        [*A, Line(what="hurt", life="n2.1"), *ran("a", end=""), *ran("a", life="n1.2")],
        ONE,
    ),
}

GOOD: dict[str, tuple[list[Line], State]] = {
    "nothing": ([], NONE),
    "all is well": ([*A, *B], TWO),
    "nobody knows, and it is there": ([*asked("a", "unknown"), *ran("a")], ONE),
    "nobody knows, and it is not there": (asked("a", "unknown"), NONE),
    "it was asked for and never answered": (asked("a", ""), NONE),
    "refused, and then done": ([*asked("a", "refused", "unknown"), *A], ONE),
    "done, and nobody knew until it was asked for again": ([*asked("a", "", "answered"), *ran("a")], ONE),
    "twice without a key": (
        asked("a", "unknown", "answered", is_once=False),
        State([kept("a", owes=()), kept("a", owes=())]),
    ),
    "put aside": (asked("a", "answered"), State([kept("a")], (), effects("a"))),
    "another run after a failure": ([*asked("a", "answered"), *ran("a", end="failed"), *ran("a")], ONE),
    "another run after a death": (
        [*A[:2], *ran("a", end=""), Line(what="died", life="n0.1"), *ran("a", life="n1.1")],
        ONE,
    ),
    "beside a process that was hurt": (
        [*A[:2], *ran("a", end=""), Line(what="hurt", life="n0.1"), *ran("a", life="n1.1")],
        ONE,
    ),
    "two keys at once": (
        [*A, *B, *ran("a", end=""), *ran("b", key="l", end="")],
        State([kept("a"), kept("b", key="l")], effects("a", "b")),
    ),
    "two messages at once of one who keeps no order": (
        [*A, *B, *ran("a", consumer="bill", end=""), *ran("b", consumer="bill", end="")],
        TWO,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_it_finds(name: str) -> None:
    rule, history, state = BAD[name]

    assert rules_broken(history, state) == {rule}


@pytest.mark.parametrize("name", GOOD)
def test_it_finds_nothing_where(name: str) -> None:
    history, state = GOOD[name]

    assert check(history, state, RULES) == []


def test_what_is_missing_may_still_come() -> None:
    missing, lost = check(A, State([kept("a")], []), RULES), check(A, NONE, RULES)

    assert [finding.may_heal for finding in missing] == [True, True]
    assert not [finding for finding in lost if finding.may_heal]


@st.composite
def good(draw: Any) -> tuple[list[Line], State]:
    """A random history in which every promise was kept, as one process after the other would write it."""
    lines: list[Line] = []
    there: list[Kept] = []
    done: list[Effect] = []
    life = 1
    for number in range(draw(st.integers(0, 8))):
        id, key = f"c{number}", draw(st.sampled_from("kl"))
        outcomes = draw(st.lists(st.sampled_from(["refused", "unknown", ""]), max_size=3))
        is_known = draw(st.booleans())
        lines += asked(id, *outcomes, *(["answered"] if is_known else []))
        if not is_known and not ({"unknown", ""} & set(outcomes) and draw(st.booleans())):
            continue
        there.append(Kept(id, key, number, 2, ("cook", "bill")))
        for consumer in ("cook", "bill"):
            for failure in draw(st.lists(st.sampled_from(["failed", "died"]), max_size=2)):
                lines += ran(
                    id, consumer=consumer, key=key, life=f"n0.{life}", end="" if failure == "died" else failure
                )
                if failure == "died":
                    lines.append(Line(what="died", life=f"n0.{life}"))
                    life += 1
            lines += ran(id, consumer=consumer, key=key, life=f"n0.{life}")
            done.append(Effect(consumer, id, key, number))
    return lines, State(there, done)


@given(good())
def test_it_finds_nothing_in_good_histories(history: tuple[list[Line], State]) -> None:
    assert check(*history, RULES) == []


@given(good().filter(lambda history: bool(history[1].effects)), st.data())
def test_it_finds_any_one_effect_that_is_gone_or_doubled(history: tuple[list[Line], State], data: Any) -> None:
    lines, state = history
    effect = data.draw(st.sampled_from(state.effects))
    gone = msgspec.structs.replace(state, effects=[one for one in state.effects if one is not effect])
    doubled = msgspec.structs.replace(state, effects=[*state.effects, effect])

    assert rules_broken(lines, gone) == {"missing"}
    assert rules_broken(lines, doubled) == {"effect twice"}


@given(good().filter(lambda history: bool(history[1].kept)), st.data())
def test_it_finds_any_one_call_that_is_gone_or_doubled(history: tuple[list[Line], State], data: Any) -> None:
    lines, state = history
    one = data.draw(st.sampled_from(state.kept))
    is_acknowledged = any(line.what == "answered" and line.id == one.id for line in lines)
    gone = msgspec.structs.replace(state, kept=[other for other in state.kept if other is not one])
    doubled = msgspec.structs.replace(state, kept=[*state.kept, one])

    assert rules_broken(lines, gone) >= ({"lost", "unfounded"} if is_acknowledged else {"unfounded"})
    assert rules_broken(lines, doubled) == {"twice"}
