"""Entries in bounded memory, and the index that finds those which a change may have changed."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toque.cache.change import Change
from toque.cache.entries import ENTRY_BYTES, PREDICATE_BYTES, Entries
from toque.cache.index import SCHEMES_MAX, Index
from toque.cache.predicates import Predicate, ReadSet
from toque.cache.tags import encoded

COLUMNS = "abc"


def _by(column: str, value: int | None) -> ReadSet:
    return ReadSet([Predicate("t", (column,), (value,))])


def test_equal_bytes_have_one_tag_and_others_another() -> None:
    assert encoded(b"soup").etag == encoded(b"soup").etag
    assert encoded(b"soup").etag != encoded(b"soap").etag
    assert len(encoded(b"soup").etag) == 18, "96 bits are 16 characters, in quotes"


def test_what_is_kept_is_found_until_a_change_touches_it() -> None:
    entries = Entries(1_000_000)
    entries.keep("one", encoded(b"1"), [_by("a", 1)])
    entries.keep("two", encoded(b"2"), [_by("a", 2)])

    entries.drop(Change("t", ({"a": 1},)))

    assert entries.find("one") is None
    assert entries.find("two") == encoded(b"2")
    assert (len(entries), entries.dropped) == (1, 1)


def test_the_room_is_never_exceeded_and_what_is_asked_for_stays() -> None:
    room = 40 * (ENTRY_BYTES + PREDICATE_BYTES + 100)
    entries = Entries(room)
    for n in range(500):
        entries.keep(n, encoded(bytes(100)), [_by("a", n)])
        assert entries.bytes <= room
        assert entries.find(0) is not None, "it is asked for again and again"

    assert len(entries) == 40
    assert entries.evicted == 460


def test_what_is_too_large_is_not_kept_and_drives_nobody_out() -> None:
    entries = Entries(100_000)
    entries.keep("small", encoded(b"1"), [])
    entries.keep("large", encoded(bytes(50_000)), [])

    assert entries.find("large") is None
    assert entries.find("small") is not None


def test_nothing_is_left_of_what_went() -> None:
    random = Random(1)
    entries = Entries(60_000)
    for n in range(2000):
        entries.keep(random.randrange(60), encoded(bytes(random.randrange(2000))), [_by("abc"[n % 3], n % 7)])
        if n % 5 == 0:
            entries.drop(Change("t", ({"a": n % 7, "b": n % 6, "c": 0},)))
        if n % 3 == 0:
            entries.find(random.randrange(60))
    assert entries.evicted > 0
    assert entries.dropped > 0

    entries.drop(Change("t", None))

    assert (len(entries), entries.bytes) == (0, 0)
    assert entries._index._tables == {}
    assert entries._newest is entries._oldest is entries._hand is None


def test_clearing_leaves_nothing() -> None:
    entries = Entries(60_000)
    entries.keep("one", encoded(b"1"), [_by("a", 1)])
    entries.clear()
    entries.keep("two", encoded(b"2"), [_by("a", 2)])

    assert entries.find("one") is None
    assert entries.find("two") is not None


def test_entries_weigh_what_they_take() -> None:
    count = 2000
    entries = Entries(1 << 30)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(count):
        entries.keep(
            ("operation", n),
            encoded(bytes(500)),
            [ReadSet([Predicate("t", ("a",), (n,)), Predicate("u", ("a", "b"), (n, "x"))])],
        )
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert taken / 1.5 < entries.bytes < taken * 1.5


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from([1, 2, "x", None])), max_size=12),
    st.lists(st.fixed_dictionaries({c: st.sampled_from([1, 2, "x", None]) for c in COLUMNS}), max_size=3),
)
def test_the_index_finds_what_the_predicates_say(wanted: list[dict[str, int]], images: list[dict[str, int]]) -> None:
    index: Index[int] = Index()
    predicates = [Predicate("t", tuple(sorted(values)), tuple(values[c] for c in sorted(values))) for values in wanted]
    for n, predicate in enumerate(predicates):
        assert index.add(n, [predicate]) == (predicate,)

    change = Change("t", tuple(images))
    assert index.matches(change) == {
        n for n, p in enumerate(predicates) if not p.columns or (images and p.matches(change))
    }
    assert index.matches(Change("t", None)) == index.matches(Change("*", None)) == set(range(len(wanted)))
    assert index.matches(Change("u", None)) == set()


def test_more_schemes_than_are_kept_are_filed_under_fewer_columns() -> None:
    names = "abcdefg"
    pairs = list(combinations(names, 2))
    index: Index[str] = Index()
    filed = {}
    for columns in [("a",), *pairs]:
        (filed[columns],) = index.add("".join(columns), [Predicate("t", columns, (1,) * len(columns))])
    (by_one,) = index.add("az", [Predicate("t", ("a", "z"), (1, 1))])

    assert len({each.columns for each in filed.values() if each.columns}) == SCHEMES_MAX
    assert by_one.columns == ("a",), "what is left of its columns is used"
    assert filed[pairs[-1]].columns == (), "and where nothing is, all rows are"
    image = dict.fromkeys(names, 1)
    assert index.matches(Change("t", (image,))) == {"a", "az", *("".join(pair) for pair in pairs)}


def test_an_image_without_a_column_may_be_any_value() -> None:
    index: Index[str] = Index()
    index.add("one", [Predicate("t", ("a",), (1,))])

    assert index.matches(Change("t", ({"b": 2},))) == {"one"}
    assert index.matches(Change("t", ({"a": 2},))) == set()


class _Counting(dict):  # type: ignore[type-arg]
    """Counts how often it is looked into."""

    looks = 0

    def get(self, *args: object) -> object:
        _Counting.looks += 1
        return super().get(*args)


@pytest.mark.parametrize("entries", [10, 10_000])
def test_a_change_costs_one_look_a_scheme_however_many_entries_there_are(entries: int) -> None:
    index: Index[int] = Index()
    for n in range(entries):
        index.add(n, [Predicate("t", ("a",), (n,)), Predicate("t", ("a", "b"), (n, n))])
    table = index._tables["t"]
    table.schemes = {columns: _Counting(by_values) for columns, by_values in table.schemes.items()}
    _Counting.looks = 0

    assert index.matches(Change("t", ({"a": 3, "b": 3},))) == {3}
    assert _Counting.looks == 2
