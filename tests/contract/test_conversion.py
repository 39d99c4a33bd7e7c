"""How plain values become a type's, what is said when they cannot, and which are refused unread."""

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, Required, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from msgspec import Meta, Struct

from toque.codecs.json import AGAIN_BYTES_MAX, JSON
from toque.contract.conversion import convert, faults_of
from toque.contract.errors import Invalid
from toque.contract.faults import FAULT_TEXT_MAX, FAULTS_MAX

T = TypeVar("T")


class S(Struct):
    id: int


@dataclasses.dataclass
class D:
    id: int


class P(pydantic.BaseModel):
    id: int


class Strict(pydantic.BaseModel, strict=True):
    on: date
    count: int


class Page(Struct, Generic[T]):
    items: list[T]
    total: int


class Ticket(TypedDict, total=False):
    id: Required[int]
    note: NotRequired[str]


@pytest.mark.parametrize(
    ("value", "tp", "path", "expected", "received"),
    [
        ({"id": "x"}, S, "$.id", "int", "str"),
        ({}, S, "$.id", "a value", "nothing"),
        ([{"id": 1}, {}], list[D], "$[1].id", "a value", "nothing"),
        ({"items": [{"id": None}], "total": 1}, Page[S], "$.items[0].id", "int", "null"),
        ({"id": "x"}, P, "$.id", "a valid integer", "str"),
        ({"note": "x"}, Ticket, "$.id", "a value", "nothing"),
        ({"id": 1, "note": 2}, Ticket, "$.note", "str", "int"),
        ([{"id": 1}, {}], list[P], "$[1].id", "a value", "nothing"),
        ({"items": [{}], "total": 1}, Page[P], "$.items[0].id", "a value", "nothing"),
        ("x", UUID, "$", "UUID", ""),
        ("x", Literal["a"], "$", "enum value", "'x'"),
        (1, Annotated[int, Meta(ge=3)], "$", "int >= 3", ""),
        ("NaN", Decimal, "$", "a finite decimal number with an exponent within 6144", "one beyond it"),
        ("q", Decimal, "$", "decimal string", ""),
    ],
)
def test_a_fault_says_where_what_was_expected_and_what_came(
    value: Any, tp: Any, path: str, expected: str, received: str
) -> None:
    with pytest.raises(Invalid) as caught:
        convert(value, tp, place="query")

    (fault,) = caught.value.faults
    assert (fault.path, fault.expected, fault.received, fault.place) == (path, expected, received, "query")


def test_pydantic_tells_all_its_faults_up_to_a_limit() -> None:
    class Many(pydantic.BaseModel):
        numbers: list[int]

    with pytest.raises(Invalid) as caught:
        convert({"numbers": ["x"] * 1_000}, Many)

    assert len(caught.value.faults) == FAULTS_MAX
    assert caught.value.faults[3].path == "$.numbers[3]"


def test_a_fault_never_repeats_a_megabyte() -> None:
    with pytest.raises(Invalid) as caught:
        convert("x" * 1_000_000, Literal["a"])

    assert all(len(text) <= FAULT_TEXT_MAX for text in msgspec.structs.astuple(caught.value.faults[0]))


def test_a_strict_pydantic_model_takes_a_date_as_text_and_still_no_number() -> None:
    assert convert({"on": "2026-11-23", "count": 1}, Strict) == Strict(on=date(2026, 11, 23), count=1)
    assert convert({"on": date(2026, 11, 23), "count": 1}, Strict).count == 1
    with pytest.raises(Invalid):
        convert({"on": "2026-11-23", "count": "1"}, Strict)


def test_plain_values_need_not_be_converted_twice() -> None:
    made = convert({"items": [{"id": 1}], "total": 1}, Page[P])

    assert convert(made, Page[P]) is made


@pytest.mark.parametrize(
    ("tp", "value"),
    [(set[int], [i * (2**61 - 1) for i in range(2_000)]), (dict[tuple[int, int], int], {})],
)
def test_keys_that_collide_are_refused_before_they_are_hashed(tp: Any, value: Any) -> None:
    value = value or {f"{i}": 1 for i in range(2_000)}
    with pytest.raises(Invalid, match="at most 256"):
        convert(value, tp)


def test_keys_that_collide_are_refused_inside_a_pydantic_model_too() -> None:
    class Tags(pydantic.BaseModel):
        ids: set[UUID]
        below: Tags | None = None

    ids = [str(UUID(int=i * (2**61 - 1))) for i in range(1, 2_000)]

    with pytest.raises(Invalid, match="at most 256") as caught:
        convert([{"ids": [], "below": {"ids": ids}}], list[Tags])

    assert caught.value.faults[0].path == "$[...].below.ids"


def test_keys_that_collide_are_refused_in_a_root_model_too() -> None:
    class Tags(pydantic.RootModel[set[int]]):
        pass

    with pytest.raises(Invalid, match="at most 256"):
        convert([i * (2**61 - 1) for i in range(1, 2_000)], Tags)


class Item(Struct):
    dish_id: Annotated[int, Meta(ge=1)]
    quantity: int


class Order(Struct, forbid_unknown_fields=True):
    table: Annotated[int, Meta(le=20)]
    items: Annotated[list[Item], Meta(max_length=3)]
    note: str | None = None


def faults_in(value: Any, tp: Any) -> dict[str, str]:
    """What is wrong with *value*, by path; as JSON, and as plain values."""
    read = JSON.decoder(tp)
    assert read is not None
    with pytest.raises(Invalid) as of_json:
        read(msgspec.json.encode(value))
    with pytest.raises(Invalid) as of_values:
        convert(value, tp)
    assert of_json.value.faults == of_values.value.faults
    paths = [fault.path for fault in of_json.value.faults]
    assert len(paths) == len(set(paths))
    return {fault.path: fault.message for fault in of_json.value.faults}


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (
            {"table": 99, "items": [{"dish_id": 0, "quantity": "x"}, {"quantity": 1}, 3], "note": 4},
            {
                "$.table": "Expected int <= 20",
                "$.items[0].dish_id": "Expected int >= 1",
                "$.items[0].quantity": "Expected int, got str",
                "$.items[1].dish_id": "Expected a value, got nothing",
                "$.items[2]": "Expected object, got int",
                "$.note": "Expected str | null, got int",
            },
        ),
        ({}, {"$.table": "Expected a value, got nothing", "$.items": "Expected a value, got nothing"}),
        ({"table": 1, "items": [{"dish_id": 1, "quantity": 1}] * 4}, {"$.items": "Expected array of length <= 3"}),
        ({"table": 1, "items": [], "more": 1}, {"$.more": "Object contains unknown field more"}),
        ([], {"$": "Expected object, got array"}),
    ],
)
def test_every_fault_is_told_at_once(value: Any, faults: dict[str, str]) -> None:
    assert faults_in(value, Order) == faults


def test_the_faults_of_one_answer_are_bounded() -> None:
    assert len(faults_in([{}] * 1000, list[Item])) == FAULTS_MAX
    assert len(faults_of([{}] * 1000, list[Item])) == FAULTS_MAX


def test_a_large_body_is_not_read_twice() -> None:
    read = JSON.decoder(list[int])
    assert read is not None
    with pytest.raises(Invalid) as caught:
        read(b"[" + b"'x',".replace(b"'", b'"') * (AGAIN_BYTES_MAX // 4) + b"1]")

    assert [fault.path for fault in caught.value.faults] == ["$[0]"]


class Nested(Struct):
    inner: list[Nested] = []
    size: int = 0


def test_a_search_for_faults_ends_at_some_depth() -> None:
    def within(levels: int) -> Any:
        value: Any = {"size": "x", "inner": 1}
        for _ in range(levels):
            value = {"inner": [value]}
        return value

    assert len(faults_in(within(2), Nested)) == 2
    assert len(faults_in(within(20), Nested)) == 1
