"""What is enqueued is checked, and begins when, and in which order, it was asked to; or not at all."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pydantic
import pytest
from job_looks import is_empty, rows, until
from msgspec import Raw
from msgspec.json import decode

from toque import AllRows, App, Database, Jobs, Struct, public
from toque.contract.complaints import SetupError
from toque.messages.jobs.book import DATA_BYTES_MAX
from toque.messages.jobs.jobs import BATCH_MAX
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import Harness, running

ONE_AT_A_TIME = Settings(messages=Messages(jobs_max=1))
SILENT = Settings(messages=Messages(work=False))


class Dish(Struct):
    name: str
    price: float


def desk() -> tuple[App, list[Any], list[Any]]:
    """An app whose one command enqueues as *hows* say, and what its jobs have done."""
    app, done, hows = App("desk"), list[Any](), list[Any]()

    @app.job()
    async def note(text: str, number: int = 0) -> None:
        done.append(text)

    @app.job()
    async def serve(dish: Dish, when: datetime, ids: list[UUID]) -> None:
        done.append((dish, when, ids))

    async def unknown(text: str) -> None: ...

    @app.command(allow=public)
    async def ask(jobs: Jobs) -> list[str]:
        functions = {"note": note, "serve": serve, "unknown": unknown}
        return [str(jobs.enqueue(functions[name], *inputs, **how)) for name, inputs, how in hows]  # type: ignore[call-overload]

    @app.command(allow=public)
    async def ask_many(count: int, jobs: Jobs) -> int:
        return len(set(jobs.enqueue_many(note, ((f"n{number}", number) for number in range(count)))))

    @app.query(allow=public)
    async def ask_in_a_query(jobs: Jobs) -> None:
        jobs.enqueue(note, "no")

    return app, done, hows


async def ask(harness: Harness, hows: list[Any], *asked: Any) -> list[str]:
    hows[:] = asked
    found: list[str] = await harness.call("desk.ask")
    return found


async def test_inputs_come_as_they_were_given(database_url: str) -> None:
    app, done, hows = desk()
    dish, when, ids = Dish("soup", 1.5), datetime(2026, 3, 1, 12, tzinfo=UTC), [UUID(int=7)]
    async with running(app, database_url=database_url) as harness:
        await ask(harness, hows, ("serve", (dish, when, ids), {}), ("note", ("ü' \\ $$ 鍋",), {}))
        await until(lambda: len(done) == 2)

    assert (dish, when, ids) in done
    assert "ü' \\ $$ 鍋" in done


class Parcel(pydantic.BaseModel):
    """It reads other names than it writes."""

    weight: int = pydantic.Field(1, serialization_alias="grams")
    sender: str = pydantic.Field("nobody", validation_alias="from")


class Account(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr = pydantic.SecretStr("")
    note: str = pydantic.Field("", exclude=True)


async def test_a_pydantic_model_comes_as_it_was_given_or_is_refused(database_url: str) -> None:
    """It came with the defaults of what had other names, without what it excludes, and with asterisks for a secret."""
    app, done = App("post"), list[Any]()
    parcel = Parcel.model_validate({"weight": 7, "from": "ana"})

    @app.job()
    async def send(parcels: list[Parcel], account: Account) -> None:
        done.append((parcels, account))

    @app.command(allow=public)
    async def ask(jobs: Jobs) -> list[str]:
        refused = list[str]()
        for account in (Account(name="a", password=pydantic.SecretStr("x")), Account(name="a", note="x")):
            with pytest.raises(TypeError, match="account does not come back as it was") as caught:
                jobs.enqueue(send, [parcel], account)
            refused.append(str(caught.value))
        jobs.enqueue(send, [parcel], Account(name="a"))
        return refused

    async with running(app, database_url=database_url) as harness:
        assert len(await harness.call("post.ask")) == 2
        await until(lambda: len(done) == 1)

    assert done == [([parcel], Account(name="a"))]


async def test_many_inputs_come_as_they_were_given_and_in_their_order(database_url: str) -> None:
    app, done = App("desk"), list[Any]()
    given = ["", "a\nb", "ü' \\ $$ 鍋", '"', "\r\t\x7f", "plain"]

    @app.job()
    async def note(text: str, more: Raw) -> None:
        done.append((text, decode(more)))

    @app.command(allow=public)
    async def ask(jobs: Jobs) -> None:
        # What is encoded already may have line breaks.
        jobs.enqueue_many(note, [(text, Raw(b'[1,\n\n "x"]')) for text in given])

    async with running(app, settings=ONE_AT_A_TIME, database_url=database_url) as harness:
        await harness.call("desk.ask")
        await until(lambda: len(done) == len(given))

    assert done == [(text, [1, "x"]) for text in given]


@pytest.mark.parametrize(
    ("name", "inputs", "how", "error", "match"),
    [
        ("note", (1,), {}, TypeError, r"desk\.note cannot be enqueued.*text"),
        ("note", (), {}, TypeError, "text"),
        ("note", ("a", 1, 2), {}, TypeError, "takes text, number"),
        ("note", ("x" * DATA_BYTES_MAX,), {}, ValueError, "bytes"),
        ("unknown", ("a",), {}, TypeError, "no job of this app"),
        ("note", ("a",), {"at": datetime(2026, 1, 1)}, ValueError, "zone"),
        ("note", ("a",), {"at": datetime.now(UTC), "delay": 1}, ValueError, "one of them"),
        ("note", ("a",), {"priority": 40_000}, ValueError, "priority"),
        ("note", ("a",), {"key": "k" * 300}, ValueError, "key"),
        ("note", ("a",), {"key": "\ud800"}, ValueError, "key= .*half of a character"),
        ("note", ("a",), {"key": None}, TypeError, "key= is text.*leave it out"),
        ("note", ("a",), {"unique": None}, TypeError, "unique= is text.*leave it out"),
        ("note", ("a",), {"unique": "a", "unique_s": math.nan}, ValueError, "unique_s= is at most"),
        ("note", ("a",), {"unique": "a", "unique_until": "began"}, ValueError, "'begun' or 'ended'"),
        ("note", ("a",), {"unique_s": 5}, TypeError, "give that, too"),
        ("note", ("a",), {"delay": None}, TypeError, "delay= is a number.*leave it out"),
        ("note", ("a",), {"delay": math.nan}, ValueError, "delay= is at most ten years"),
        ("note", ("a",), {"delay": timedelta.max}, ValueError, "delay= is at most ten years"),
        ("note", ("a",), {"at": 5.0}, TypeError, "at= is a datetime"),
        ("note", ("a",), {"priority": 1.5}, TypeError, "whole number"),
        ("note", ("a",), {"dely": 5}, TypeError, "did you mean delay="),
        ("note", (), {"text": "a"}, TypeError, "cannot be enqueued.*text"),
        ("note", ("a",), {"number": 2}, TypeError, "inputs have no names here"),
    ],
)
async def test_what_cannot_be_done_is_refused_when_it_is_enqueued(
    database_url: str, other: Store, name: str, inputs: Any, how: Any, error: type[Exception], match: str
) -> None:
    app, _, hows = desk()
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        with pytest.raises(error, match=match):
            await ask(harness, hows, (name, inputs, how))
        with pytest.raises(PermissionError):
            await harness.call("desk.ask_in_a_query")

        assert await is_empty(other)


async def test_the_more_important_goes_first_and_else_who_came_first(database_url: str) -> None:
    app, done, hows = desk()
    async with running(app, settings=ONE_AT_A_TIME, database_url=database_url) as harness:
        asked = [("note", (f"{number}",), {"priority": number % 3}) for number in range(9)]
        await ask(harness, hows, *asked)
        await until(lambda: len(done) == 9)

    assert done == [*"258", *"147", *"036"]


async def test_what_is_to_be_later_is_later(database_url: str, other: Store) -> None:
    app, done, hows = desk()
    async with running(app, database_url=database_url) as harness:
        soon, past = timedelta(seconds=0.3), datetime(2020, 1, 1, tzinfo=UTC)
        far = datetime.now(UTC) + timedelta(days=400)
        await ask(
            harness,
            hows,
            ("note", ("soon",), {"delay": soon}),
            ("note", ("past",), {"at": past}),
            ("note", ("far",), {"at": far}),
            ("note", ("now",), {}),
        )
        await until(lambda: len(done) == 3)

    assert sorted(done[:2]) == ["now", "past"]
    assert done[2] == "soon"
    assert await rows(other, "SELECT state, attempt FROM toque.job") == [(2, 0)]


async def test_a_delay_that_is_over_is_none(database_url: str) -> None:
    app, done, hows = desk()
    async with running(app, database_url=database_url) as harness:
        await ask(harness, hows, ("note", ("a",), {"delay": -5}), ("note", ("b",), {"delay": timedelta.min}))
        await until(lambda: sorted(done) == ["a", "b"])


async def test_unique_keeps_a_second_one_out_for_as_long_as_it_says(database_url: str, other: Store) -> None:
    app, _, hows = desk()
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        once, for_long = {"unique": "a"}, {"unique": "b", "unique_s": 3600}
        await ask(harness, hows, ("note", ("1",), once), ("note", ("2",), once), ("note", ("3",), {"unique": "c"}))
        await ask(harness, hows, ("note", ("4",), once), ("note", ("5",), for_long), ("note", ("6",), for_long))
        first = sorted(await rows(other, "SELECT uniq FROM toque.job"))
    async with running(app, database_url=database_url):
        await until(lambda: is_empty(other))
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await ask(harness, hows, ("note", ("7",), once), ("note", ("8",), for_long))
        second = await rows(other, "SELECT uniq FROM toque.job")

    assert first == [("a",), ("b",), ("c",)]
    assert second == [("a",)]


async def test_many_are_enqueued_at_once(database_url: str, other: Store) -> None:
    app, done, _ = desk()
    async with running(app, database_url=database_url) as harness:
        assert await harness.call("desk.ask_many", count=1234) == 1234
        with pytest.raises(ValueError, match="at once"):
            await harness.call("desk.ask_many", count=BATCH_MAX + 1)
        await until(lambda: is_empty(other))

    assert sorted(done) == sorted(f"n{number}" for number in range(1234))


def test_a_job_that_cannot_be_enqueued_is_refused_at_start() -> None:
    app = App("wrong")

    @app.job()
    async def late(db: Database, text: str) -> None: ...

    @app.job()
    async def named(db: AllRows, *, text: str) -> None: ...

    @app.job(retries=0)
    async def never() -> None: ...

    with pytest.raises(SetupError) as caught:
        app.serve()

    told = str(caught.value)
    for words in ("let text come first", "taken by name only", "tried 0 times"):
        assert words in told
