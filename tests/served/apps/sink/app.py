"""Every kind of input and output that an operation may have, for programs that read the OpenAPI document."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import attrs
import pydantic

from toque import (
    App,
    Conflict,
    Error,
    File,
    Header,
    InBody,
    InQuery,
    Meta,
    NotFound,
    Struct,
    authenticated,
    public,
    role,
)  # fmt: skip

app = App("sink", description="Everything at once.")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Said(Struct):
    text: str


class Counted(Struct):
    count: int


# Paths.


@app.query("/ints/{number}", allow=public)
async def by_int(number: int) -> Said:
    return Said(str(number))


@app.query("/bounded/{number}", allow=public)
async def by_bounded(number: Annotated[int, Meta(ge=1, le=100)]) -> Said:
    return Said(str(number))


@app.query("/uuids/{key}", allow=public)
async def by_uuid(key: UUID) -> Said:
    return Said(str(key))


@app.query("/colours/{colour}/{size}", allow=public)
async def by_enum(colour: Colour, size: Size) -> Said:
    return Said(f"{colour.value} {size.value}")


@app.query("/days/{day}", allow=public, errors=[NotFound])
async def by_date(day: date) -> Said:
    if day.year < 2000:
        raise NotFound("nothing is known of the last century")
    return Said(day.isoformat())


@app.query("/words/{word}/letters/{place}", allow=public)
async def by_word(word: Annotated[str, Meta(min_length=1, max_length=5)], place: int) -> Said:
    return Said(word[place : place + 1] if abs(place) < 10 else "")


@app.query("/kinds/{kind}", allow=public)
async def by_literal(kind: Literal["soup", "salad"]) -> Said:
    return Said(kind)


# Queries.


class Filter(Struct):
    colour: Colour | None = None
    limit: Annotated[int, Meta(ge=0, le=50)] = 10
    words: list[str] = []


@app.query("/search", allow=public)
async def search(
    text: str,
    tags: list[str] = [],  # noqa: B006
    sizes: Annotated[list[Size], Meta(max_length=3)] = [],  # noqa: B006
    since: date | None = None,
    ratio: float = 1.0,
    exact: bool = False,
    price: Decimal | None = None,
) -> Said:
    return Said(f"{text} {len(tags)} {len(sizes)} {since} {ratio} {exact} {price}")


@app.query("/filtered", allow=public)
async def filtered(wanted: Filter) -> Said:
    return Said(f"{wanted.limit} {len(wanted.words)}")


@app.query("/headed", allow=public)
async def headed(
    token: Annotated[str, Header("x-token")], times: Annotated[int, Header("x-times"), Meta(ge=0, le=3)] = 1
) -> Said:
    return Said(token * times)


# Bodies.


class Leaf(Struct):
    name: str
    weight: float = 0.0


class Tree(Struct):
    name: Annotated[str, Meta(max_length=20)]
    planted: datetime
    leaves: list[Leaf] = []
    branches: dict[str, Leaf] = {}
    colour: Colour | None = None
    blooms: time | None = None
    seed: bytes = b""
    twin: Tree | None = None


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    tricks: list[str]


class Strict(Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=9)]


@dataclasses.dataclass
class Plate:
    size: int
    rim: str = "gold"


class Cup(TypedDict):
    volume: float


@attrs.define
class Fork:
    tines: int = 4


class Spoon(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    length: int
    metal: Literal["silver", "steel"] = "steel"


@app.command("/trees", allow=public, status=201, location="/trees/{name}")
async def plant(tree: Tree) -> Leaf:
    return Leaf(tree.name[:20] or "tree")


@app.command("/pets", allow=public)
async def adopt(pet: Cat | Dog) -> Cat | Dog:
    return pet


@app.command("/strict", allow=public, method="PUT")
async def strict(body: Strict) -> Strict:
    return body


@app.command("/plates", allow=public)
async def plate(plate: Plate) -> Plate:
    return plate


@app.command("/cups", allow=public)
async def cup(cup: Cup) -> Cup:
    return {"volume": cup["volume"]}


@app.command("/forks", allow=public)
async def fork(fork: Fork) -> Fork:
    return fork


@app.command("/spoons", allow=public)
async def spoon(spoon: Spoon) -> Spoon:
    return spoon


@app.command("/lists", allow=public)
async def take_list(leaves: Annotated[list[Leaf], Meta(max_length=5)]) -> Counted:
    return Counted(len(leaves))


@app.command("/maps", allow=public)
async def take_map(weights: dict[str, float]) -> Counted:
    return Counted(len(weights))


@app.command("/anything", allow=public)
async def take_anything(body: dict[str, Any]) -> Counted:
    return Counted(len(body))


@app.command("/members", allow=public, method="PATCH", errors=[Conflict])
async def members(name: str, size: Size, tags: list[str] = [], note: str | None = None) -> Said:  # noqa: B006
    if size is Size.LARGE and not tags:
        raise Conflict("a large one needs a tag")
    return Said(f"{name} {note}")


@app.command("/mixed/{key}", allow=public)
async def mixed(key: int, dry: Annotated[bool, InQuery()], amount: Annotated[int, InBody()]) -> Counted:
    return Counted(1 if dry else 2)


@app.command("/nothing", allow=public, method="DELETE")
async def nothing() -> None:
    return None


class Upload(Struct):
    title: str
    file: File


@app.command("/files", allow=public)
async def take_file(upload: Upload) -> Counted:
    return Counted(upload.file.size_bytes)


@app.command("/streams", allow=public)
async def take_stream(chunks: AsyncIterator[bytes]) -> Counted:
    return Counted(sum([len(chunk) async for chunk in chunks]))


# Answers.


@app.query("/optional", allow=public)
async def optional(wanted: bool) -> Leaf | None:
    return Leaf("one") if wanted else None


@app.query("/leaves", allow=public)
async def leaves(count: Annotated[int, Meta(ge=0, le=20)] = 3) -> AsyncIterator[Leaf]:
    for number in range(count):
        yield Leaf(f"leaf {number}", number / 2)


@app.query("/image", allow=public, media_type="image/png")
async def image() -> bytes:
    return b"\x89PNG"


@app.query("/numbers", allow=public)
async def numbers() -> list[float]:
    return [1.0, 2.5]


# Callers.


class Tired(Error, code="tired", http=429, title="Enough for today"):
    """The cook has gone home."""


@app.query("/mine", allow=authenticated)
async def mine() -> Said:
    return Said("yours")


@app.command("/orders/{id}", allow=role("cook"), errors=[Tired])
async def order(id: int, amount: int) -> Said:
    if amount > 1000:
        raise Tired("no more than a thousand")
    return Said(f"{amount} of {id}")
