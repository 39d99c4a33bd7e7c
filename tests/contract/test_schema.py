"""What types hold, how text and plain values become them, and what is said when they cannot."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from toque.contract import schema
from toque.contract.errors import Invalid

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Count(enum.IntEnum):
    ONE = 1


class S(Struct):
    id: int
    note: Annotated[str, Meta(description="what the guest said")] = "-"


@dataclasses.dataclass
class D:
    id: int
    note: str = "-"


@attrs.define
class A:
    id: int
    note: str = "-"


class TD(TypedDict):
    id: int
    note: NotRequired[str]


class P(pydantic.BaseModel):
    id: int
    note: str = pydantic.Field("-", description="what the guest said")
    on: date | None = None


class Strict(pydantic.BaseModel, strict=True):
    on: date
    count: int


class Renamed(Struct, rename="camel"):
    dish_id: int


class Page(Struct, Generic[T]):
    items: list[T]
    total: int


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


class Whatever:
    pass


@pytest.mark.parametrize(
    "tp",
    [
        S,
        D,
        A,
        TD,
        P,
        list[int],
        dict[str, int],
        set[int],
        tuple[int, str],
        list,
        Page[S],
        S | None,
        Annotated[S, 1],
        Sequence[int],
        list[S] | None,
    ],
)
def test_objects_and_containers_are_structured(tp: Any) -> None:
    assert schema.is_structured(tp)


@pytest.mark.parametrize(
    "tp", [int, str, int | None, Any, UUID, Size, Literal["a"], None, int | list[int], bytes]
)
def test_plain_values_are_not_structured(tp: Any) -> None:
    assert not schema.is_structured(tp)


@pytest.mark.parametrize("tp", [S, D, A, P])
def test_every_kind_of_object_tells_its_fields(tp: Any) -> None:
    first, second = schema.fields_of(tp)[:2]

    assert (first.name, first.type, first.required) == ("id", int, True)
    assert (second.name, second.required, second.default) == ("note", False, "-")
    assert second.doc == ("what the guest said" if tp in (S, P) else "")


def test_fields_have_their_names_on_the_wire_and_in_python() -> None:
    (field,) = schema.fields_of(Renamed)

    assert (field.name, field.attribute) == ("dishId", "dish_id")
    assert [field.required for field in schema.fields_of(TD)] == [True, False]


def test_a_generic_object_tells_its_fields_with_their_arguments() -> None:
    assert schema.fields_of(Page[S])[0].type == list[S]
    assert schema.fields_of(int) == ()


@pytest.mark.parametrize(
    ("tp", "words"),
    [
        (Order, "database model"),
        (list[Order], "class OrderView(Struct)"),
        (Whatever, "declare a Struct"),
        (dict[str, Whatever], "Whatever"),
        (AsyncIterator[int], "no format carries"),
        (Callable[[], int], "no format carries"),
        (object, "or Any"),
        (S | D, "Type unions"),
    ],
)
def test_a_type_that_cannot_travel_says_why(tp: Any, words: str) -> None:
    assert words in (schema.unserialisable(tp) or "")


@pytest.mark.parametrize("tp", [S, D, A, TD, P, Page[P], list[S] | None, Any, int, Size, dict[UUID, Decimal]])
def test_a_type_that_can_travel_is_not_refused(tp: Any) -> None:
    assert schema.unserialisable(tp) is None


def test_schemas_refer_to_components_and_pydantic_ones_too() -> None:
    class Outer(pydantic.BaseModel):
        inner: P

    schemas, components = schema.json_schema([list[S], Page[P], Outer])

    assert schemas[0] == {"type": "array", "items": {"$ref": "#/components/schemas/S"}}
    assert schemas[2] == {"$ref": "#/components/schemas/Outer"}
    assert components["Outer"]["properties"]["inner"] == {"$ref": "#/components/schemas/Outer.P"}
    assert components["S"]["properties"]["note"]["description"] == "what the guest said"
    references = set(_references([schemas, components]))
    assert references <= {f"#/components/schemas/{name}" for name in components}
    assert schema.json_schema([list[S], Page[P], Outer]) == (schemas, components)


def test_classes_that_share_a_name_get_names_of_their_own() -> None:
    other = msgspec.defstruct("P", [("x", int)], module="elsewhere")

    _, components = schema.json_schema([P, other])

    assert len([name for name in components if name.split(".")[-1] == "P"]) == 2


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [v for k, v in value.items() if k == "$ref"] + _references(list(value.values()))
    return [found for one in value for found in _references(one)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("value", "tp", "path", "expected", "received"),
    [
        ({"id": "x"}, S, "$.id", "int", "str"),
        ({}, S, "$.id", "a value", "nothing"),
        ([{"id": 1}, {}], list[D], "$[1].id", "a value", "nothing"),
        ({"items": [{"id": None}], "total": 1}, Page[S], "$.items[0].id", "int", "null"),
        ({"id": "x"}, P, "$.id", "a valid integer", "str"),
        ([{"id": 1}, {}], list[P], "$[1].id", "a value", "nothing"),
        ({"items": [{}], "total": 1}, Page[P], "$.items[0].id", "a value", "nothing"),
        ("x", UUID, "$", "UUID", ""),
        ("x", Literal["a"], "$", "enum value", "'x'"),
        (1, Annotated[int, Meta(ge=3)], "$", "int >= 3", ""),
        ("NaN", Decimal, "$", "a finite decimal number with an exponent within 6144", "one beyond it"),
    ],
)
def test_a_fault_says_where_what_was_expected_and_what_came(
    value: Any, tp: Any, path: str, expected: str, received: str
) -> None:
    with pytest.raises(Invalid) as caught:
        schema.convert(value, tp, place="query")

    (fault,) = caught.value.faults
    assert (fault.path, fault.expected, fault.received, fault.place) == (path, expected, received, "query")


def test_pydantic_tells_all_its_faults_up_to_a_limit() -> None:
    class Many(pydantic.BaseModel):
        numbers: list[int]

    with pytest.raises(Invalid) as caught:
        schema.convert({"numbers": ["x"] * 1_000}, Many)

    assert len(caught.value.faults) == schema.FAULTS_MAX
    assert caught.value.faults[3].path == "$.numbers[3]"


def test_a_fault_never_repeats_a_megabyte() -> None:
    with pytest.raises(Invalid) as caught:
        schema.convert("x" * 1_000_000, Literal["a"])

    assert all(len(text) <= schema.FAULT_TEXT_MAX for text in msgspec.structs.astuple(caught.value.faults[0]))


def test_a_strict_pydantic_model_takes_a_date_as_text_and_still_no_number() -> None:
    assert schema.convert({"on": "2026-11-23", "count": 1}, Strict) == Strict(on=date(2026, 11, 23), count=1)
    assert schema.convert({"on": date(2026, 11, 23), "count": 1}, Strict).count == 1
    with pytest.raises(Invalid):
        schema.convert({"on": "2026-11-23", "count": "1"}, Strict)


def test_plain_values_need_not_be_converted_twice() -> None:
    made = schema.convert({"items": [{"id": 1}], "total": 1}, Page[P])

    assert schema.convert(made, Page[P]) is made


@pytest.mark.parametrize(
    ("tp", "value"),
    [(set[int], [i * (2**61 - 1) for i in range(2_000)]), (dict[tuple[int, int], int], {})],
)
def test_keys_that_collide_are_refused_before_they_are_hashed(tp: Any, value: Any) -> None:
    value = value or {f"{i}": 1 for i in range(2_000)}
    with pytest.raises(Invalid, match="at most 256"):
        schema.convert(value, tp)


def test_keys_that_collide_are_refused_inside_a_pydantic_model_too() -> None:
    class Tags(pydantic.BaseModel):
        ids: set[UUID]
        below: Tags | None = None

    ids = [str(UUID(int=i * (2**61 - 1))) for i in range(1, 2_000)]

    with pytest.raises(Invalid, match="at most 256") as caught:
        schema.convert([{"ids": [], "below": {"ids": ids}}], list[Tags])

    assert caught.value.faults[0].path == "$[...].below.ids"


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
    assert schema.from_text(text, tp) == value


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
        schema.from_text(text, tp, place="path", path="$.id")

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
            schema.from_text(text, tp)
        except Invalid:
            pass


def test_a_plain_field_given_twice_is_refused() -> None:
    read = schema.texts_reader(int, path="$.page")

    assert read(["1"]) == 1
    with pytest.raises(Invalid, match="one value"):
        read(["1", "2"])
    assert schema.texts_reader(list[int])(["1", "2"]) == [1, 2]


@pytest.mark.parametrize("tp", [S, dict[str, int], list[S], tuple[int, str], Whatever])
def test_a_type_that_no_text_can_stand_for_is_refused_at_once(tp: Any) -> None:
    with pytest.raises(TypeError, match="no text can stand for"):
        schema.text_reader(tp)
