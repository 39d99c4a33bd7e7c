"""Inputs and answers that Python holds equal although somebody can tell them apart: memory does, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from sqlalchemy import MetaData, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import App, Database, InBody, Struct, public
from toque.settings import Cache, Settings
from toque.store.models import NAMES, Conventions
from toque.testing import running


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Tide(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)


class Moment(Struct):
    at: datetime


def make_app() -> App:
    app = App("tides", metadata=Base.metadata)

    @app.query("/hour", allow=public)
    async def hour(at: datetime, db: Database) -> str:
        await db.all(int, select(Tide.id))
        return at.isoformat()

    @app.query("/moment", allow=public)
    async def moment(at: str, db: Database) -> Moment:
        await db.all(int, select(Tide.id))
        return Moment(datetime.fromisoformat(at))

    @app.query("/anything", allow=public)
    async def anything(at: str, db: Database) -> Any:
        await db.all(int, select(Tide.id))
        return datetime.fromisoformat(at)

    @app.query("/depths", allow=public)
    async def depths(db: Database) -> list[float]:
        return [float(each) for each in ("1.5", "nan", *await db.all(str, select(Tide.id)))]

    @app.query("/names", allow=public, stale_if_error_s=60)
    async def names(counts: Annotated[dict[str, int], InBody()], db: Database) -> list[str]:
        await db.all(int, select(Tide.id))
        return list(counts)

    return app


NOON = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
SAME = NOON.astimezone(UTC)


async def test_inputs_that_are_equal_and_not_the_same_have_answers_of_their_own(database_url: str) -> None:
    async with running(make_app(), database_url=database_url) as tides:
        for _ in range(3):
            assert await tides.call("tides.hour", at=NOON) == NOON.isoformat()
            assert await tides.call("tides.hour", at=SAME) == SAME.isoformat()
            assert await tides.call("tides.names", counts={"b": 1, "a": 2}) == ["b", "a"]
            assert await tides.call("tides.names", counts={"a": 2, "b": 1}) == ["a", "b"]


async def test_requests_that_differ_in_their_bodies_alone_have_answers_of_their_own(database_url: str) -> None:
    """The second of two bodies of one length was answered with the answer to the first, once both were known."""
    async with running(make_app(), database_url=database_url) as tides:
        for _ in range(4):
            for name in "ab":
                answer = await tides.request("GET", "/names", json={name: 1})
                assert answer.json() == [name]

        # Nobody else, who knows its URL alone, may give it.
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["cache-status"] == "toque; hit"


@pytest.mark.parametrize("path", ["/moment", "/anything"])
@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
async def test_a_time_keeps_its_zone(database_url: str, path: str, accept: str) -> None:
    target, headers = f"{path}?at=2026-06-01T12:00:00%2B02:00", {"accept": accept}
    forgetful = Settings(cache=Cache(bytes_max=0))
    async with running(make_app(), settings=forgetful, database_url=database_url) as tides:
        truth = await tides.get(target, headers=headers)
    async with running(make_app(), database_url=database_url) as tides:
        for _ in range(3):
            assert (await tides.get(target, headers=headers)).content == truth.content


# What is not a number kept its query, whatever the inputs, from memory for good: it equals nothing, itself included.
@pytest.mark.parametrize("path", ["/moment?at=2026-06-01", "/depths"])
async def test_an_answer_with_times_or_what_is_not_a_number_is_kept(database_url: str, path: str) -> None:
    async with running(make_app(), database_url=database_url) as tides:
        statuses = [(await tides.get(path)).headers["cache-status"] for _ in range(3)]

    assert "toque; hit" in statuses
