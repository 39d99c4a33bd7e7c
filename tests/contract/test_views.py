"""Nothing undeclared leaves, whatever a function returns."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final, Generic, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from toque.contract.conversion import enc_hook
from toque.contract.views import shaper

T = TypeVar("T")
Other = TypeVar("Other")
SECRET = "hash-of-the-password"


class View(Struct):
    id: int
    note: str = "-"


class Model(View):
    password: str = SECRET


@dataclasses.dataclass
class DView:
    id: int


@dataclasses.dataclass
class DModel(DView):
    password: str = SECRET


@attrs.define(slots=False)
class AView:
    id: int


@attrs.define(slots=False)
class AModel(AView):
    password: str = SECRET


class TView(TypedDict):
    id: int
    note: NotRequired[str]


class XView(typing_extensions.TypedDict):  # the one that pydantic wants before Python 3.12
    id: int
    note: NotRequired[str]


class PInner(pydantic.BaseModel):
    id: int


class PInnerModel(PInner):
    password: str = SECRET


class PView(pydantic.BaseModel):
    id: int
    inner: PInner | None = None


class PModel(PView):
    password: str = SECRET


class Cat(Struct, tag=True):
    name: str


class Dog(Struct, tag=True):
    name: str


class Page(Struct, Generic[T]):
    items: list[T]
    total: int = 0


# What a generic class holds may be said by whoever takes it as a base, on the way by other names.
class ViewPage(Page[View]):
    pass


class Swapped(Page[Other], Generic[T, Other]):
    first: T | None = None


class SwappedPage(Swapped[int, View]):
    pass


@dataclasses.dataclass
class DPage(Generic[T]):
    item: T


@dataclasses.dataclass
class DViewPage(DPage[View]):
    id: int = 1


@attrs.define(slots=False)
class APage(Generic[T]):
    item: T


@attrs.define(slots=False)
class AViewPage(APage[View]):
    id: int = 1


class TPage(TypedDict, Generic[T]):
    item: T


class TViewPage(TPage[View]):
    note: NotRequired[View]


class Pair(NamedTuple, Generic[T]):
    first: T
    view: View


class ViewPair(Pair[View]):
    pass


Bound = TypeVar("Bound", bound=View)


class Bounded(Struct, Generic[Bound]):
    item: Bound


@dataclasses.dataclass
class Finished:
    view: Final[View]


class Collected(Struct):
    views: Collection[View]


class Patch(Struct):
    view: View | msgspec.UnsetType = msgspec.UNSET
    note: str | msgspec.UnsetType = msgspec.UNSET


class PatchModel(Patch):
    password: str = SECRET


class Tree(Struct):
    view: View
    kids: list[Tree] = []


class Open(Struct):
    anything: Any


class Point(NamedTuple):
    view: View
    x: int


class Renamed(Struct, rename="camel"):
    dish_id: int


class Base(MappedAsDataclass, DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    password: Mapped[str] = mapped_column(default=SECRET)


class Kind(enum.StrEnum):
    A = "a"


class Level(enum.Enum):
    LOW = 1


class Levels(Struct):
    held: list[Level]
    level: Level | None = None


class TLevel(TypedDict):
    level: Level


def leave(tp: Any, value: Any) -> Any:
    shape = shaper(tp)
    assert shape is not None
    return shape(value)


def written(tp: Any, value: Any) -> bytes:
    return msgspec.json.encode(leave(tp, value), enc_hook=enc_hook)


ORM = Row(id=1)
LIKE = SimpleNamespace(id=1, note="-", password=SECRET)


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (View, Model(1)),
        (View, {"id": 1, "password": SECRET}),
        (View, ORM),
        (View, LIKE),
        (DView, DModel(1)),
        (DView, ORM),
        (AView, AModel(1)),
        (AView, LIKE),
        (TView, {"id": 1, "password": SECRET}),
        (TView, LIKE),
        (TView, Model(1)),
        (XView, {"id": 1, "password": SECRET}),
        (XView, Model(1)),
        (list[XView], [{"id": 1, "password": SECRET}]),
        (PView, PModel(id=1)),
        (PView, LIKE),
        (PView, {"id": 1, "password": SECRET}),
        (list[View], [View(1), Model(1)]),
        (list[View], [ORM]),
        (list[View], (Model(1),)),
        (list[View], iter([Model(1)])),
        (list[TView], [{"id": 1, "password": SECRET}]),
        (list[PView], [PModel(id=1)]),
        (tuple[View, ...], (Model(1),)),
        (tuple[View, int], (Model(1), 2)),
        (dict[str, View], {"a": Model(1)}),
        (View | None, Model(1)),
        (View | None, {"id": 1, "password": SECRET}),
        (list[View | None], [None, Model(1)]),
        (Page[View], Page([Model(1)])),
        (Page[View], {"items": [ORM], "password": SECRET}),
        (Tree, Tree(Model(1))),
        (Tree, Tree(View(1), [Tree(Model(1))])),
        (Point, Point(Model(1), 2)),
        (Cat | Dog, {"type": "Dog", "name": "x", "password": SECRET}),
        (Page[PView], Page([PModel(id=1)])),
        (list[list[View]], [[Model(1)]]),
        (dict[str, list[View]], {"a": [Model(1)]}),
        (PView, PView(id=1, inner=PInnerModel(id=1))),
        (ViewPage, ViewPage([Model(1)])),
        (list[ViewPage], [ViewPage([Model(1)])]),
        (SwappedPage, SwappedPage([Model(1)], first=2)),
        (Swapped[View, int], Swapped([2], first=Model(1))),
        (DViewPage, DViewPage(Model(1))),
        (AViewPage, AViewPage(Model(1))),
        (TViewPage, {"item": Model(1), "note": Model(1), "password": SECRET}),
        (Pair[View], Pair(Model(1), Model(1))),
        (Pair[int], Pair(1, Model(1))),
        (ViewPair, ViewPair(Model(1), Model(1))),
        (Bounded, Bounded(Model(1))),
        (Finished, Finished(Model(1))),
        (Collected, Collected([Model(1)])),
        (Patch, PatchModel(View(1))),
        (Patch, PatchModel(Model(1), "x")),
    ],
)
def test_what_was_not_declared_does_not_leave(tp: Any, value: Any) -> None:
    body = written(tp, value)

    assert SECRET.encode() not in body
    assert b"1" in body or b"Dog" in body


def test_an_undeclared_attribute_of_an_attrs_instance_does_not_leave() -> None:
    view = AView(1)
    view.password = SECRET  # type: ignore[attr-defined]

    assert written(AView, view) == b'{"id":1}'


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (View, View(1)),
        (DView, DView(1)),
        (AView, AView(1)),
        (PView, PView(id=1)),
        (list[View], [View(1), View(2)]),
        (list[View | None], [None, View(1)]),
        (Page[View], Page([View(1)])),
        (Tree, Tree(View(1), [Tree(View(2))])),
        (View | None, None),
        (int, 1),
        (str, "x"),
        (UUID, UUID(int=1)),
        (Cat | Dog, Dog("x")),
        (Open, Open({"a": [1, date(2026, 1, 1)]})),
        (list[PView], [PView(id=1)]),
        (ViewPage, ViewPage([View(1)])),
        (Patch, Patch()),
        (Patch, Patch(View(1))),
    ],
)
def test_exactly_what_was_declared_passes_untouched(tp: Any, value: Any) -> None:
    assert leave(tp, value) is value


@pytest.mark.parametrize(
    ("tp", "value", "body"),
    [
        (Level, Level.LOW, b"1"),
        (Level | None, Level.LOW, b"1"),
        (list[Level], [Level.LOW], b"[1]"),
        (dict[str, list[Level]], {"a": [Level.LOW]}, b'{"a":[1]}'),
        (TLevel, {"level": Level.LOW}, b'{"level":1}'),
        (Levels, {"held": [Level.LOW], "level": Level.LOW}, b'{"held":[1],"level":1}'),
    ],
)
def test_a_member_of_an_enum_of_numbers_leaves_as_its_number(tp: Any, value: Any, body: bytes) -> None:
    # msgspec refuses a member where the very Enum is asked for, unless its values are texts or it is an IntEnum.
    assert written(tp, value) == body


@given(rows=st.lists(st.builds(View, st.integers(0, 9), st.text(max_size=5)), max_size=20))
def test_rows_keep_their_order_and_values(rows: list[View]) -> None:
    assert leave(list[View], [Model(row.id, row.note) for row in rows]) == rows


@pytest.mark.parametrize(
    ("tp", "value", "words"),
    [
        (View, None, "expected View"),
        (View, 5, "expected View"),
        (View, "x", "expected View"),
        (View, {}, "View"),
        (View, {"id": "x"}, "View"),
        (list[View], View(1), "list"),
        (list[View], {"id": 1}, "list"),
        (list[View], [5], "expected View"),
        (dict[str, View], [1], "dict"),
        (View | None, 5, "View"),
        (int, "1", "int"),
        (int, Model(1), "int"),
        (str, Model(1), "str"),
        (str, None, "str"),
        (str, ORM, "str"),
        (list[int], [1, Model(1)], "int"),
        (dict[str, int], {"a": ORM}, "int"),
        (bool, 1, "bool"),
        (Open, Open(Model(1)), "Open.anything"),
        (Open, Open([{"a": ORM}]), "Open.anything"),
        (dict[str, Any], {"a": LIKE}, "Any"),
        (Any, Model(1), "Any"),
        (Tree, Tree(None), "View"),
        (PView, {"id": "x"}, "wrong are: id"),
        (tuple[View, int], (View(1),), "tuple"),
        (TView, {"id": "x"}, "TView"),
        (Page, Page([Model(1)]), "Page.items"),
    ],
)
def test_what_cannot_become_the_declared_type_is_a_mistake_that_names_the_place(
    tp: Any, value: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        leave(tp, value)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("tp", [View, list[View], dict[str, View], PView, View | None, Any])
def test_a_forgotten_await_is_told(tp: Any) -> None:
    async def answer() -> None: ...

    forgotten = answer()
    with pytest.raises(TypeError, match="a coroutine, which nobody awaited"):
        leave(tp, forgotten)
    forgotten.close()


def test_nothing_declared_needs_no_shape() -> None:
    assert shaper(None) is None
    assert shaper(type(None)) is None


def test_a_field_that_is_unset_stays_out() -> None:
    assert written(Patch, PatchModel()) == b"{}"
    assert written(Patch, PatchModel(note="x")) == b'{"note":"x"}'
    assert written(list[Patch], [PatchModel()]) == b"[{}]"


def test_plain_values_become_the_declared_plain_type() -> None:
    assert leave(float, 1) == 1.0
    assert leave(str, Kind.A) == "a"
    assert leave(Decimal, "1.50") == Decimal("1.50")
    assert leave(Any, {"a": [1, None, {"b": Kind.A}]}) == {"a": [1, None, {"b": "a"}]}


def test_a_dict_may_name_fields_as_in_python_or_as_on_the_wire() -> None:
    assert leave(Renamed, {"dish_id": 1}) == leave(Renamed, {"dishId": 1}) == Renamed(1)
