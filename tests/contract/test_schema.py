"""What types hold, which of them can travel, and their JSON Schemas."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from msgspec import Meta, Struct
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from toque.contract.json_schema import json_schema
from toque.contract.nodes import unserialisable
from toque.contract.schema import fields_of, is_structured

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


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
    assert is_structured(tp)


@pytest.mark.parametrize("tp", [int, str, int | None, Any, UUID, Size, Literal["a"], None, int | list[int], bytes])
def test_plain_values_are_not_structured(tp: Any) -> None:
    assert not is_structured(tp)


@pytest.mark.parametrize("tp", [S, D, A, P])
def test_every_kind_of_object_tells_its_fields(tp: Any) -> None:
    first, second = fields_of(tp)[:2]

    assert (first.name, first.type, first.required) == ("id", int, True)
    assert (second.name, second.required, second.default) == ("note", False, "-")
    assert second.doc == ("what the guest said" if tp in (S, P) else "")


def test_fields_have_their_names_on_the_wire_and_in_python() -> None:
    (field,) = fields_of(Renamed)

    assert (field.name, field.attribute) == ("dishId", "dish_id")
    assert [field.required for field in fields_of(TD)] == [True, False]


def test_the_fields_of_a_typed_dict_stand_in_the_order_of_their_declaration() -> None:
    class Line(TypedDict):
        quantity: int
        dish: str

    assert [field.name for field in fields_of(Line)] == ["quantity", "dish"]


def test_a_generic_object_tells_its_fields_with_their_arguments() -> None:
    assert fields_of(Page[S])[0].type == list[S]
    assert fields_of(int) == ()


@pytest.mark.parametrize(
    ("tp", "words"),
    [
        (Order, "database model"),
        (list[Order], "class OrderView(Struct)"),
        (Whatever, "declare a Struct"),
        (dict[str, Whatever], "Whatever"),
        (AsyncIterator[int], "no format carries"),
        (Callable[[], int], "no format carries"),
        (dict[str, msgspec.Raw], "the bytes of one format"),
        (object, "or Any"),
        (S | D, "Type unions"),
    ],
)
def test_a_type_that_cannot_travel_says_why(tp: Any, words: str) -> None:
    assert words in (unserialisable(tp) or "")


@pytest.mark.parametrize("tp", [S, D, A, TD, P, Page[P], list[S] | None, Any, int, Size, dict[UUID, Decimal]])
def test_a_type_that_can_travel_is_not_refused(tp: Any) -> None:
    assert unserialisable(tp) is None


def test_the_computed_fields_of_a_pydantic_model_are_described_as_what_only_leaves() -> None:
    # They left, and were nowhere; of a model that takes no more than its fields, against its own schema.
    class Unit(pydantic.BaseModel):
        name: str

    class Line(pydantic.BaseModel, extra="forbid"):
        quantity: int

        @pydantic.computed_field
        def unit(self) -> Unit:
            return Unit(name="piece")

    class Bill(pydantic.BaseModel):
        lines: list[Line]

    _, components = json_schema([Bill, Unit])
    line = components["Bill.Line"]

    assert line["properties"]["unit"] == {"$ref": "#/components/schemas/Bill.Unit", "readOnly": True}
    assert line["required"] == ["quantity"]
    assert components["Bill.Unit"]["required"] == ["name"]


class Allergen(enum.Flag):
    NUTS = 1
    MILK = 2


class Marked(Struct):
    has: Allergen | None


def test_flags_are_a_number_up_to_all_of_them() -> None:
    _, components = json_schema([Marked])

    # It listed 1 and 2: a client that goes by it could neither send nor understand both.
    assert components["Allergen"] == {"title": "Allergen", "type": "integer", "minimum": 0, "maximum": 3}


class Stay(Struct, array_like=True, tag="stay"):
    since: datetime
    nights: int


def test_what_stands_at_a_place_says_its_format_as_what_has_a_name() -> None:
    (pair, _), components = json_schema([tuple[datetime, Decimal], Stay])

    assert [place.get("format") for place in pair["prefixItems"]] == ["date-time", "decimal"]
    assert "pattern" in pair["prefixItems"][1]
    assert components["Stay"]["prefixItems"][1] == {"type": "string", "format": "date-time"}


def test_schemas_refer_to_components_and_pydantic_ones_too() -> None:
    class Outer(pydantic.BaseModel):
        inner: P

    schemas, components = json_schema([list[S], Page[P], Outer])

    assert schemas[0] == {"type": "array", "items": {"$ref": "#/components/schemas/S"}}
    assert schemas[2] == {"$ref": "#/components/schemas/Outer"}
    assert components["Outer"]["properties"]["inner"] == {"$ref": "#/components/schemas/Outer.P"}
    assert components["S"]["properties"]["note"]["description"] == "what the guest said"
    references = set(_references([schemas, components]))
    assert references <= {f"#/components/schemas/{name}" for name in components}
    assert json_schema([list[S], Page[P], Outer]) == (schemas, components)


def test_classes_that_share_a_name_get_names_of_their_own() -> None:
    other = msgspec.defstruct("P", [("x", int)], module="elsewhere")

    _, components = json_schema([P, other])

    assert len([name for name in components if name.split(".")[-1] == "P"]) == 2


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [v for k, v in value.items() if k == "$ref"] + _references(list(value.values()))
    return [found for one in value for found in _references(one)] if isinstance(value, list) else []
