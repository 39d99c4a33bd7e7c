"""Functions whose answer may change although no row does: none may pass for one that can be answered from memory."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime as dt
import enum
import functools
import random
import time
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, TypeVar

import attrs
import loose_switches
import msgspec
import pydantic
import pytest
import sqlalchemy as sa
import switches
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, sessionmaker

from toque import App, Database, public
from toque.cache.purity import why_impure

F = TypeVar("F", bound=Callable[..., Any])

IMPURE: list[Callable[..., Any]] = []
PURE: list[Callable[..., Any]] = []


def impure(function: F) -> F:
    IMPURE.append(function)
    return function


def pure(function: F) -> F:
    PURE.append(function)
    return function


# What they use.

namespace = types.SimpleNamespace(count=0)
engine = sa.create_engine("sqlite://")
sessions = sessionmaker(engine)
variable = contextvars.ContextVar("variable", default=1)
generator = (n for n in range(10))
dice = random.Random(1)
LIMIT, HIDDEN, FIXED = 3, 3, 3
clock = functools.partial(sorted, key=lambda _: time.time())


class Config:
    limit = 3
    fixed = 3


class Counter:
    count = 3
    total = 3

    @classmethod
    def bump(cls) -> None:
        cls.count += 1

    def add(self) -> None:
        type(self).total = 4


class Parent:
    size = 3
    depth = 3
    width = 3


class Child(Parent):
    pass


def resize(names: list[str]) -> None:
    Parent.size = 4
    setattr(Parent, "depth", 4)  # noqa: B010 - what somebody may write
    for name in names:
        setattr(Configured, name, 4)


class Configured:
    speed = 3


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    due: Mapped[dt.datetime]

    @hybrid_property
    def is_late(self) -> bool:
        return self.due < dt.datetime.now()

    @hybrid_property
    def is_first(self) -> bool:
        return self.id == 1


def set_level(n: int) -> None:
    switches.LEVEL = n


def set_others(n: int) -> None:
    import switches as imported

    local = switches
    imported.BY_IMPORT = n
    local.BY_LOCAL = n
    switches.__dict__["BY_DICT"] = n


def helper() -> int:
    return 3


helper.calls = 3  # type: ignore[attr-defined]


class Setter:
    @staticmethod
    def hide(n: int) -> None:
        global HIDDEN
        HIDDEN = n


class Stamped(pydantic.BaseModel):
    at: dt.datetime = pydantic.Field(default_factory=dt.datetime.now)


@dataclass
class Numbered:
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class Named(msgspec.Struct):
    id: uuid.UUID = msgspec.field(default_factory=uuid.uuid4)


class Frozen(msgspec.Struct, frozen=True):
    count: int = 1

    def told(self) -> float:
        return time.time()


class Season(enum.Enum):
    SUMMER = 1

    @property
    def is_now(self) -> float:
        return time.time()


class Moving(type):
    @property
    def place(cls) -> float:
        return time.time()


class Mover(metaclass=Moving):
    pass


class Told:
    def __get__(self, owner: Any, cls: Any) -> float:
        return time.time()


class Teller:
    told = Told()


class Kind(enum.Enum):
    HOT = 1


class Calm(msgspec.Struct, frozen=True):
    count: int = 1


CALM = Calm()


class Tomorrow(dt.datetime):
    pass


frozen = Frozen()


class Catalogue:
    prices: ClassVar[dict[str, int]] = {"soup": 3}

    @functools.cached_property
    def opened(self) -> float:
        return time.time()


class Winter(Catalogue):
    def price(self) -> int:
        return self.prices["soup"]


class PriceTold:
    prices = types.SimpleNamespace(soup=3)

    def __get__(self, owner: Any, cls: Any) -> int:
        return self.prices.soup  # type: ignore[no-any-return]


class PriceTeller:
    told = PriceTold()


class Tax:
    share = 3

    def of(self, price: int) -> int:
        return price * self.share


def raise_tax(share: int) -> None:
    Tax.share = share


class Crate(enum.Enum):
    OPEN = ["soup"]


@functools.lru_cache
def options() -> Any:
    return types.SimpleNamespace(limit=3)


@functools.singledispatch
def told_of(value: Any) -> float:
    return 1


@told_of.register
def _(value: int) -> float:
    return time.time()


@dataclass
class DishData:
    id: int
    sides: list[str] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class FrozenDishData:
    id: int


@attrs.define
class DishAttrs:
    id: int
    sides: list[str] = attrs.field(factory=list)


@attrs.frozen
class FrozenDishAttrs:
    id: int


class Ordered(msgspec.Struct):
    id: int

    def __lt__(self, other: object) -> bool:
        return self.id < other.id if isinstance(other, Ordered) else NotImplemented


def counted(function: F) -> F:
    calls = 0

    @functools.wraps(function)
    def counting() -> int:
        nonlocal calls
        calls += 1
        return calls

    return counting  # type: ignore[return-value]


# Functions that tell another thing each time, or what somebody else has left behind.


@impure
def by_namespace() -> Any:
    return namespace.count


@impure
def by_engine() -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT 1"))


@impure
def by_session() -> Any:
    with sessions() as session:
        return session.scalar(sa.text("SELECT 1"))


@impure
def by_new_engine() -> Any:
    return sa.create_engine("sqlite://").connect()


@impure
def by_variable() -> Any:
    return variable.get()


@impure
def by_class_attribute() -> Any:
    return Config.limit


def set_class_attribute(n: int) -> None:
    Config.limit = n


@impure
def by_class_method() -> Any:
    return Counter.count


@impure
def by_class_of_object() -> Any:
    return Counter.total


@impure
def by_class_above() -> Any:
    return Child.size


@impure
def by_setattr() -> Any:
    return Child.depth


@impure
def by_setattr_of_any_name() -> Any:
    return Configured.speed


@impure
def by_function_attribute() -> Any:
    return helper.calls  # type: ignore[attr-defined]


@impure
def by_global_of_other_module() -> Any:
    return switches.IS_OPEN


@impure
def by_own_global_of_other_module() -> Any:
    return switches.level()


@impure
def by_written_module() -> Any:
    return switches.LEVEL


for written in (
    lambda: switches.BY_GLOBALS,
    lambda: switches.BY_VARS,
    lambda: switches.BY_SETATTR,
    lambda: switches.BY_ATTRIBUTE,
    lambda: switches.BY_FETCHING,
    lambda: switches.BY_IMPORT,
    lambda: switches.BY_LOCAL,
    lambda: switches.BY_DICT,
    lambda: loose_switches.LEVEL,
):
    impure(written)


@impure
def by_module_that_answers() -> Any:
    return switches.MOMENT


@impure
def by_own_class_attribute() -> Any:
    Config.fixed += 1
    return 1


@impure
def by_own_attribute() -> Any:
    by_own_attribute.n = getattr(by_own_attribute, "n", 0) + 1  # type: ignore[attr-defined]
    return 1


@impure
def by_generator() -> Any:
    return next(generator)


@impure
def by_dice() -> Any:
    return dice.random()


@impure
def by_process() -> Any:
    return asyncio.create_subprocess_exec("date")


@impure
def by_pydantic_default() -> Any:
    return Stamped()


@impure
def by_dataclass_default() -> Any:
    return Numbered()


@impure
def by_struct_default() -> Any:
    return Named()


@impure
@counted
def by_decorator() -> Any:
    return 1


@impure
def by_getattr() -> Any:
    return getattr(dt.datetime, "now")()  # noqa: B009 - what somebody may write


@impure
def by_default(at: Any = time.time) -> Any:
    return at()


@impure
def by_comprehension() -> Any:
    return [time.time() for _ in range(2)]


@impure
def by_inner_function() -> Any:
    def told() -> Any:
        return date.today()

    return told()


@impure
def by_import() -> Any:
    from datetime import datetime

    return datetime.now()


@impure
async def by_timeout() -> Any:
    async with asyncio.timeout(1):
        return 1


@impure
async def by_patience() -> Any:
    return await asyncio.wait_for(asyncio.sleep(0), 1)


@impure
def by_hybrid() -> Any:
    return sa.select(Parcel.id).where(Parcel.is_late)


@impure
def by_hybrid_of_alias() -> Any:
    return sa.select(aliased(Parcel).is_late)


@impure
def by_object(when: Any) -> Any:
    return when.today()


@impure
def by_subclass() -> Any:
    return Tomorrow.utcnow()


@impure
def by_place() -> Any:
    return dt.datetime(2020, 1, 1).astimezone()


@impure
def by_enum() -> Any:
    return Season.SUMMER.is_now


@impure
def by_metaclass() -> Any:
    return Mover.place


@impure
def by_descriptor() -> Any:
    return Teller.told


@impure
def by_method() -> Any:
    return frozen.told()


@impure
def by_partial() -> Any:
    return clock([])


@impure
def by_hidden_global() -> Any:
    return HIDDEN


@impure
def by_value_of_class() -> Any:
    return Winter().price()


@impure
def by_object_of_class() -> Any:
    return PriceTeller().told


@impure
def by_attribute_of_object() -> Any:
    return Tax().of(2)


@impure
def by_value_of_enum() -> Any:
    return Crate.OPEN.value[0]


@impure
def by_cached_property() -> Any:
    return Catalogue().opened


@impure
def by_kept_answer() -> Any:
    return options().limit


@impure
def by_dispatch() -> Any:
    return told_of(1)


def make_enclosed() -> tuple[Callable[..., Any], Callable[..., Any]]:
    limit = 3

    def told() -> int:
        return limit

    def choose(n: int) -> None:
        nonlocal limit
        limit = n

    return told, choose


impure(make_enclosed()[0])

app = App("purity")


@impure
@app.query("/limit", allow=public)
async def by_global(db: Database) -> int:
    return LIMIT


@app.command("/limit", allow=public)
async def choose_limit(n: int, db: Database) -> None:
    global LIMIT
    LIMIT = n


# Functions that do not.


@pure
def of_constants() -> Any:
    return FIXED, switches.FIXED, Counter.__name__, Kind.HOT, Kind, Calm(2).count, CALM.count


@pure
def of_arithmetic(n: int, when: date) -> Any:
    return sorted(str(each) for each in range(n)), when.isoformat(), when.replace(day=1), dt.timedelta(days=n)


@pure
async def of_tasks(n: int) -> Any:
    return await asyncio.gather(*(asyncio.sleep(0, each) for each in range(n)))


@pure
def of_statements(n: int) -> Any:
    return sa.select(sa.func.count()).where(sa.column("n") == n, Parcel.id == n, Parcel.is_first)


@pure
def of_copies(view: Any) -> Any:
    view.name = "another"
    return dataclasses.replace(view), msgspec.structs.replace(CALM, count=2)


@pure
def of_views() -> Any:
    # No query with such a view was kept, because of what `dataclasses` and attrs write for sets and for people.
    return DishData, FrozenDishData, DishAttrs, FrozenDishAttrs, Ordered


def _id(function: Callable[..., Any]) -> str:
    return function.__name__ if function.__name__ != "<lambda>" else function.__code__.co_names[-1]


@pytest.mark.parametrize("function", IMPURE, ids=_id)
def test_it_is_not_taken_for_pure(function: Callable[..., Any]) -> None:
    assert why_impure([function]) != ""


@pytest.mark.parametrize("function", PURE, ids=lambda function: function.__name__)
def test_it_is_taken_for_pure(function: Callable[..., Any]) -> None:
    assert why_impure([function]) == ""
