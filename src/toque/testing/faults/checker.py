"""What a history and the database at its end prove: nothing lost, nothing twice, nothing torn, all in order.

Pure: it knows no processes, no clocks and no database, only what was written down. Each rule is one function that says
in words what breaks it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from toque.testing.faults.history import Line

__all__ = ["Effect", "Finding", "Kept", "Rules", "State", "check"]


class Kept(Struct, frozen=True):
    """A call whose change is in the database."""

    id: str
    key: str = ""
    place: int = 0
    """Of those with one key, the one that was committed later has the higher place."""
    parts: int = 1
    """How many of the rows that it writes are there."""
    owes: tuple[str, ...] = ()
    """The consumers that must have had their effect, because of what it published."""


class Effect(Struct, frozen=True):
    """What a handler or a job has left in the database."""

    consumer: str
    id: str
    key: str = ""
    place: int = 0
    """Of those with one consumer and key, the one that was committed later has the higher place."""


class State(Struct, frozen=True):
    """What is in the database. Nothing in it is unique: what was done twice is there twice."""

    kept: Sequence[Kept] = ()
    effects: Sequence[Effect] = ()
    aside: Sequence[Effect] = ()
    """What a consumer owes and was given up: a message in whose company processes ended again and again is put aside,
    with those of its key. It is not lost, and will not be done by itself."""


class Rules(Struct, frozen=True):
    """What an app promises beyond what every app does."""

    parts: int = 1
    """How many rows a call writes: all of them are there, or none."""
    ordered: frozenset[str] = frozenset()
    """The consumers that have their messages in the order of the key."""


class Finding(Struct, frozen=True):
    """A promise that was broken."""

    rule: str
    text: str
    may_heal: bool = False
    """Whether it is one only if it stays so: an effect that is not there yet."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def check(history: Iterable[Line], state: State, rules: Rules = Rules()) -> list[Finding]:  # noqa: B008 - frozen
    """Everything that is wrong with *history* and the *state* that it led to."""
    lines = list(history)
    return [finding for rule in _ALL for finding in rule(lines, state, rules)]


def _calls_are_kept_as_answered(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    """An acknowledged call is in the database, a refused one is not, and one under a key is there once."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    once: set[str] = set()
    for line in lines:
        if line.what in ("asked", "answered", "refused"):
            counts[line.id][line.what] += 1
            if line.is_once:
                once.add(line.id)
    kept = Counter(one.id for one in state.kept)
    for id in sorted(counts.keys() | kept.keys()):
        asked, answered, refused = (counts[id][what] for what in ("asked", "answered", "refused"))
        least, most = answered, asked - refused
        if id in once:
            least, most = min(least, 1), min(most, 1)
        if not asked:
            yield Finding("invented", f"{id} is in the database, and nobody has asked for it")
        elif kept[id] < least:
            yield Finding("lost", f"{id} was acknowledged {answered} times and is in the database {kept[id]} times")
        elif kept[id] > most:
            word = f"asked for {asked} times, {refused} of them refused{', under one key' if id in once else ''}"
            yield Finding("twice", f"{id} was {word}, and is in the database {kept[id]} times")


def _calls_are_whole(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    for one in state.kept:
        if one.parts != rules.parts:
            yield Finding("torn", f"{one.id} has {one.parts} of the {rules.parts} rows that it writes")


def _answers_of_one_key_agree(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    answers: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.what == "answered" and line.is_once:
            answers[line.id].add(line.told)
    for id, told in answers.items():
        if len(told) > 1:
            yield Finding("two answers", f"{id} was answered in different ways: {', '.join(sorted(told))}")


def _effects_happen_once(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    owed = {(consumer, one.id) for one in state.kept for consumer in one.owes}
    there = Counter((effect.consumer, effect.id) for effect in state.effects)
    aside = {(effect.consumer, effect.id) for effect in state.aside}
    for consumer, id in sorted(owed - there.keys() - aside):
        yield Finding("missing", f"{consumer} has not done what {id} asks of it", may_heal=True)
    for (consumer, id), count in sorted(there.items()):
        if (consumer, id) not in owed:
            yield Finding("unfounded", f"{consumer} has an effect of {id}, which was not committed or not meant for it")
        elif count > 1:
            yield Finding("effect twice", f"{consumer} has {count} effects of {id}")


def _nothing_uncommitted_is_seen(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    """Not even by a run that came to nothing."""
    kept = {one.id for one in state.kept}
    seen = {(line.consumer, line.id) for line in lines if line.what == "began" and line.id not in kept}
    for consumer, id in sorted(seen):
        yield Finding("uncommitted", f"{consumer} was started for {id}, which is not in the database")


def _order_is_kept(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    """In what was left in the database, and in what others can have seen: no run begins before the one before it in
    its key has begun."""
    places = {one.id: one.place for one in state.kept}
    effects = sorted(state.effects, key=lambda effect: effect.place)
    begun = [line for line in lines if line.what == "began"]
    done = [("effects", (effect.consumer, effect.key), effect.id) for effect in effects]
    first = dict.fromkeys(("first runs", (line.consumer, line.key), line.id) for line in begun)
    lanes: dict[tuple[str, tuple[str, str]], list[str]] = defaultdict(list)
    for kind, lane, id in [*done, *first]:
        if lane[0] in rules.ordered and lane[1] and id in places:
            lanes[kind, lane].append(id)
    for (kind, (consumer, key)), ids in lanes.items():
        for earlier, later in pairwise(ids):
            if places[earlier] > places[later]:
                yield Finding("order", f"the {kind} of {consumer} under {key}: {earlier} came before {later}")


def _nothing_runs_beside_itself(lines: Sequence[Line], state: State, rules: Rules) -> Iterator[Finding]:
    """Two runs of one message, or in order two of one key, do not overlap, unless the life of one of them was hurt: a
    process that is frozen or cut off cannot know that it was given up. That only one of them counts is another rule."""
    hurt: set[str] = set()
    running: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line.what == "hurt":
            hurt.add(line.life)
        elif line.what == "died":
            for runs in running.values():
                runs[:] = [run for run in runs if run.life != line.life]
        elif line.what == "began":
            runs = running[_lane(line, rules)]
            for run in runs:
                if not {run.life, line.life} & hurt:
                    text = f"{line.consumer} ran {line.id} in {line.life} while {run.id} ran in {run.life}"
                    yield Finding("beside itself", text)
            runs.append(line)
        elif line.what in ("ended", "failed"):
            runs = running[_lane(line, rules)]
            runs[:] = [run for run in runs if (run.life, run.id) != (line.life, line.id)]


def _lane(line: Line, rules: Rules) -> tuple[str, str]:
    is_ordered = line.consumer in rules.ordered and line.key
    return line.consumer, f"key {line.key}" if is_ordered else line.id


_ALL: tuple[Callable[[Sequence[Line], State, Rules], Iterator[Finding]], ...] = (
    _calls_are_kept_as_answered,
    _calls_are_whole,
    _answers_of_one_key_agree,
    _effects_happen_once,
    _nothing_uncommitted_is_seen,
    _order_is_kept,
    _nothing_runs_beside_itself,
)
