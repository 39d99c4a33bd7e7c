"""Which tables an operation's code can meet, as `toque explain` says it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import archive_models as models
import pytest
from archive_models import Base, Diary, Note, Topic, label
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import aliased

from toque import Struct
from toque.store.named import named_tables

log = logging.getLogger("test")
PAGES = select(Diary.page)
OTHER = aliased(Diary)
BY_NAME = {"diary": Diary}
HIDDEN = SimpleNamespace(diary=Diary)


class NoteView(Struct):
    id: int


class Shelf:
    """What an app's own resource may look like."""

    statement = select(label)

    def __init__(self, db: Any) -> None:
        self._db = db

    async def pages(self) -> Any:
        return await self._db.all(str, PAGES)


@dataclass
class Wanted:
    page: str

    def condition(self) -> Any:
        return Diary.page == self.page


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def counting(*args: Any) -> Any:
        log.info("called")
        return function(*args)

    return counting


def _inner(db: Any) -> Any:
    return db.all(str, PAGES)


async def plain(db: Any) -> Any:
    """Names a view, a logger and functions of libraries too."""
    log.info("%s", re.compile("a").pattern)
    return await db.all(NoteView, select(Topic.id).where(func.lower(Topic.name) == "x"))


async def related(db: Any) -> Any:
    return await db.all(NoteView, select(Note))


async def by_function(db: Any) -> Any:
    return await _inner(db)


async def by_nested_function(db: Any) -> Any:
    def statement() -> Any:
        return [each for each in (PAGES, PAGES) if each is not None]

    return await db.all(str, *statement())


async def by_module(db: Any) -> Any:
    return await db.execute(insert(models.Diary).values(page=""))


async def by_alias(db: Any) -> Any:
    return await db.all(str, select(OTHER.page))


async def by_dictionary(name: str, db: Any) -> Any:
    return await db.all(str, select(BY_NAME[name].page))


async def by_import(db: Any) -> Any:
    from archive_models import Diary as Late

    return await db.all(str, select(Late.page))


@counted
def decorated(db: Any) -> Any:
    return _inner(db)


async def none(db: Any) -> Any:
    return await db.scalar(select(func.now()))


def _enclosed() -> Callable[..., Any]:
    statement = select(Diary.page)

    async def enclosed(db: Any) -> Any:
        return await db.all(str, statement)

    return enclosed


@pytest.mark.parametrize(
    ("roots", "tables"),
    [
        ([plain], {"topic"}),
        ([related], {"note", "topic"}),
        ([by_function], {"diary"}),
        ([by_nested_function], {"diary"}),
        ([by_module], {"diary"}),
        ([by_alias], {"diary"}),
        ([by_dictionary], {"diary"}),
        ([by_import], {"diary"}),
        ([decorated], {"diary"}),
        ([_enclosed()], {"diary"}),
        ([partial(_inner, None)], {"diary"}),
        ([Shelf], {"diary", "label"}),
        ([none, Wanted], {"diary"}),
        ([none], set()),
    ],
)
def test_the_tables_that_code_names(roots: list[Any], tables: set[str]) -> None:
    assert named_tables(roots) == named_tables(reversed(roots))
    assert named_tables(roots).unknown == ""
    assert named_tables(roots).tables == tables


async def by_text(db: Any) -> Any:
    return await db.scalar(text("SELECT 1"))


async def by_attribute(name: str, db: Any) -> Any:
    return await db.all(str, select(getattr(models, name)))


async def by_metadata(name: str, db: Any) -> Any:
    return await db.all(str, select(models.Base.metadata.tables[name]))


async def by_namespace(db: Any) -> Any:
    return await db.all(str, select(HIDDEN.diary.page))


async def by_module_not_loaded(db: Any) -> Any:
    from archive_of_nobody import Diary as Late  # type: ignore[import-not-found]

    return await db.all(str, select(Late))


METADATA = Base.metadata


async def by_named_metadata(name: str, db: Any) -> Any:
    return await db.all(str, select(METADATA.tables[name]))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (by_text, "it uses text"),
        (by_attribute, "it uses getattr"),
        (by_metadata, "it uses metadata"),
        (by_namespace, "it uses a SimpleNamespace"),
        (by_named_metadata, "it uses a MetaData"),
        (by_module_not_loaded, "by_module_not_loaded imports archive_of_nobody"),
    ],
)
def test_what_cannot_be_known_is_said_with_its_reason(function: Any, why: str) -> None:
    named = named_tables([function])

    assert named.tables == frozenset()
    assert named.unknown.startswith(why)
