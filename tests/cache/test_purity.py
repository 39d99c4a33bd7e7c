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
from typing import Any, TypeVar

import msgspec
import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import sessionmaker

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
    return FIXED, Kind.HOT, Kind, Calm(2).count, CALM.count


@pure
def of_arithmetic(n: int, when: date) -> Any:
    return sorted(str(each) for each in range(n)), when.isoformat(), when.replace(day=1), dt.timedelta(days=n)


@pure
async def of_tasks(n: int) -> Any:
    return await asyncio.gather(*(asyncio.sleep(0, each) for each in range(n)))


@pure
def of_statements(n: int) -> Any:
    return sa.select(sa.func.count()).where(sa.column("n") == n)


@pure
def of_copies(view: Any) -> Any:
    view.name = "another"
    return dataclasses.replace(view), msgspec.structs.replace(CALM, count=2)


@pytest.mark.parametrize("function", IMPURE, ids=lambda function: function.__name__)
def test_it_is_not_taken_for_pure(function: Callable[..., Any]) -> None:
    assert why_impure([function]) != ""


@pytest.mark.parametrize("function", PURE, ids=lambda function: function.__name__)
def test_it_is_taken_for_pure(function: Callable[..., Any]) -> None:
    assert why_impure([function]) == ""
