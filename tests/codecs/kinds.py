"""One rich type, and one small type in each of the five kinds of model."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, NotRequired, TypedDict
from uuid import UUID

import attrs
import pydantic
from msgspec import Struct


class Station(enum.Enum):
    GRILL = "grill"
    COLD = "cold"


class Cash(Struct, tag=True):
    given: Decimal


class Card(Struct, tag=True):
    number: str


class Dish(Struct):
    name: str
    price: Decimal
    spicy: bool = False


class Order(Struct):
    id: UUID
    table: int
    placed_at: datetime
    served_on: date | None
    note: str | None
    weight: float
    station: Station
    size: Literal["small", "large"]
    photo: bytes
    dishes: list[Dish]
    tags: dict[str, int]
    payment: Cash | Card


class Flat(Struct):
    """What a row or a form carries."""

    id: UUID
    table: int
    placed_at: datetime
    on: date
    price: Decimal
    weight: float
    station: Station
    size: Literal["small", "large"]
    photo: bytes
    note: str
    spicy: bool
    seats: int | None
    dish: Dish


class AsStruct(Struct):
    table: int
    on: date
    note: str = ""


@dataclasses.dataclass
class AsDataclass:
    table: int
    on: date
    note: str = ""


@attrs.define
class AsAttrs:
    table: int
    on: date
    note: str = ""


class AsTypedDict(TypedDict):
    table: int
    on: date
    note: NotRequired[str]


class AsPydantic(pydantic.BaseModel):
    table: int
    on: date
    note: str = ""


class AsStrictPydantic(pydantic.BaseModel, strict=True):
    table: int
    on: date
    note: str = ""


KINDS = (AsStruct, AsDataclass, AsAttrs, AsTypedDict, AsPydantic, AsStrictPydantic)
