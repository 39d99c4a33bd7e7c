"""How text becomes values, and what is said when it cannot."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from toque.contract.errors import Invalid
from toque.contract.text import text_reader, texts_reader


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Count(enum.IntEnum):
    ONE = 1


class Allergen(enum.Flag):
    NUTS = 1
    MILK = 2
    EGGS = 4


class S(Struct):
    id: int


class Whatever:
    pass


@pytest.mark.parametrize(
    ("text", "tp", "value"),
    [
        ("x y", str, "x y"),
        ("-17", int, -17),
        ("1.5e3", float, 1500.0),
        ("true", bool, True),
        ("0", bool, False),
        ("1", Count, Count.ONE),
        ("s", Size, Size.SMALL),
        ("5", Allergen, Allergen.NUTS | Allergen.EGGS),
        ("0", Allergen, Allergen(0)),
        ("1", Literal["a", 1, None], 1),
        ("null", Literal["a", None], None),
        ("12345678-1234-5678-1234-567812345678", UUID, UUID("12345678-1234-5678-1234-567812345678")),
        ("2026-11-23T01:02:03Z", datetime, datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)),
        ("2026-11-23", date, date(2026, 11, 23)),
        ("PT5S", timedelta, timedelta(seconds=5)),
        ("1.50", Decimal, Decimal("1.50")),
        ("", int | None, None),
        ("", str | None, ""),
        ("5", int | str, 5),
        ("x", int | str, "x"),
        (["1", "2"], list[int], [1, 2]),
        (["1", "1"], set[int], {1}),
        (["1", "2"], tuple[int, ...], (1, 2)),
        ("7", list[int], [7]),
        (["1"], list[int] | None, [1]),
        ("YQ==", bytes, b"a"),
        ("4", Annotated[int, Meta(ge=3)], 4),
    ],
)
def test_text_becomes_what_it_stands_for(text: Any, tp: Any, value: Any) -> None:
    assert text_reader(tp)(text) == value


@pytest.mark.parametrize(
    ("text", "tp"),
    [
        ("", int),
        ("+1", int),
        ("1_0", int),
        (" 1", int),
        ("٣", int),
        ("1.0", int),
        ("--1", int),
        ("9" * 5_000, int),
        ("nan", float),
        ("inf", float),
        ("1e999", float),
        ("1_0.0", float),
        ("", float),
        ("yes", bool),
        ("TRUE", bool),
        ("x", Size),
        ("b", Literal["a"]),
        ("x", UUID),
        ("5", datetime),
        ("x", date),
        ("NaN", Decimal),
        ("1e99999", Decimal),
        ("1e-99999", Decimal),
        ("9" * 9_000, Decimal),
        ("x", int | None),
        ("x", int | float),
        (["1", "x"], list[int]),
        ("2", Annotated[int, Meta(ge=3)]),
    ],
)
def test_text_that_stands_for_nothing_is_refused_with_its_place(text: Any, tp: Any) -> None:
    with pytest.raises(Invalid) as caught:
        text_reader(tp, place="path", path="$.id")(text)

    (fault,) = caught.value.faults
    assert fault.path.startswith("$.id")
    assert fault.place == "path"
    assert fault.expected


@given(text=st.text(max_size=30))
def test_no_text_makes_a_reader_crash(text: str) -> None:
    for tp in (
        int,
        float,
        bool,
        Decimal,
        UUID,
        datetime,
        date,
        bytes,
        Size,
        int | None,
        list[int],
        timedelta,
    ):
        try:
            text_reader(tp)(text)
        except Invalid:
            pass


def test_a_plain_field_given_twice_is_refused() -> None:
    read = texts_reader(int, path="$.page")

    assert read(["1"]) == 1
    with pytest.raises(Invalid, match="one value"):
        read(["1", "2"])
    assert texts_reader(list[int])(["1", "2"]) == [1, 2]


class Pair(NamedTuple):
    first: int
    second: str


@pytest.mark.parametrize("tp", [S, dict[str, int], list[S], tuple[int, str], tuple[int], Pair, Whatever])
def test_a_type_that_no_text_can_stand_for_is_refused_at_once(tp: Any) -> None:
    with pytest.raises(TypeError, match="no text can stand for"):
        text_reader(tp)
