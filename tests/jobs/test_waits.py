"""A job waits for an event, holds nobody up meanwhile, and gets it once, whenever it was published."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from job_looks import is_empty, rows, until

from toque import App, Delivery, Event, Jobs, Outbox, Retries, Steps, public
from toque.messages.jobs import matching
from toque.messages.jobs.matching import Matching
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import Harness, running

ONE = Settings(messages=Messages(jobs_max=1))
SILENT = Settings(messages=Messages(work=False))


class Paid(Event):
    __version__ = 2
    order: str
    cents: int = 0

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> Any:
        return {"order": data["order"], "cents": 100 * data["euros"]}


def shop() -> tuple[App, list[Any]]:
    app, done = App("shop"), list[Any]()

    async def note(text: str) -> None:
        done.append(text)

    @app.job(retries=Retries(first_s=0.01))
    async def deliver(order: str, seconds: float, times: int, steps: Steps, delivery: Delivery) -> list[int | None]:
        await steps.run("begin", note, f"{order} begins")
        got: list[int | None] = []
        for number in range(times):
            paid = await steps.wait(f"paid {number}", Paid, key=order, timeout=seconds or None)
            got.append(None if paid is None else paid.cents)
        await steps.run("end", note, f"{order} {got}")
        return got

    @app.job()
    async def other(text: str) -> None:
        done.append(text)

    @app.command(allow=public)
    async def ask(jobs: Jobs, order: str, seconds: float = 0, times: int = 1) -> str:
        return str(jobs.enqueue(deliver, order, seconds, times))

    @app.command(allow=public)
    async def ask_other(text: str, jobs: Jobs) -> None:
        jobs.enqueue(other, text)

    @app.command(allow=public)
    async def pay(order: str, cents: int, outbox: Outbox) -> None:
        outbox.publish(Paid(order, cents), key=order)

    @app.command(allow=public)
    async def cancel(id: str, jobs: Jobs) -> bool:
        from uuid import UUID

        return await jobs.cancel(UUID(id))

    return app, done


async def is_asleep(store: Store, count: int = 1) -> bool:
    return len(await rows(store, "SELECT id FROM toque.job WHERE state = 2")) == count


async def test_it_goes_on_when_the_event_is_published(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, settings=ONE, database_url=database_url) as harness:
        await harness.call("shop.ask", order="a")
        await harness.call("shop.ask", order="b")
        await until(lambda: is_asleep(other, 2))
        # It holds no place of a worker.
        await harness.call("shop.ask_other", text="other")
        await until(lambda: "other" in done)
        await harness.call("shop.pay", order="b", cents=2)
        await until(lambda: "b [2]" in done)

        assert "a [1]" not in done
        await harness.call("shop.pay", order="a", cents=1)
        await until(lambda: is_empty(other))

    assert done[-1] == "a [1]"
    assert await rows(other, "SELECT job FROM toque.job_step") == []


async def test_what_was_published_before_it_looked_is_had_and_each_once(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await harness.call("shop.pay", order="a", cents=1)
        await harness.call("shop.ask", order="a", times=3)
        await harness.call("shop.pay", order="a", cents=2)
        await harness.call("shop.pay", order="x", cents=3)
        await harness.call("shop.pay", order="a", cents=4)
    async with running(app, database_url=database_url) as harness:
        await until(lambda: is_asleep(other))
        await harness.call("shop.pay", order="a", cents=5)
        await until(lambda: is_empty(other))

    assert done == ["a begins", "a [2, 4, 5]"]


async def test_it_outlives_processes(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        await harness.call("shop.ask", order="a")
        await until(lambda: is_asleep(other))
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await harness.call("shop.pay", order="a", cents=7)
    async with running(app, database_url=database_url):
        await until(lambda: is_empty(other))

    assert done == ["a begins", "a [7]"]


async def test_it_is_over_at_its_time(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        await harness.call("shop.ask", order="a", seconds=0.2)
        await until(lambda: is_empty(other))

    assert done == ["a begins", "a [None]"]


async def test_many_are_each_woken_once(database_url: str, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published while the jobs look, put themselves to sleep, and are compared, in small pages."""
    monkeypatch.setattr(matching, "PAGE", 3)
    app, done = shop()
    async with running(app, database_url=database_url) as harness:

        async def one(number: int) -> None:
            await harness.call("shop.ask", order=f"o{number}", times=2)
            await harness.call("shop.pay", order=f"o{number}", cents=1)
            await asyncio.sleep(0.01 * (number % 7))
            await harness.call("shop.pay", order=f"o{number}", cents=2)

        await asyncio.gather(*(one(number) for number in range(60)))
        await until(lambda: is_empty(other))

    assert sorted(done) == sorted(f"o{n} {said}" for n in range(60) for said in ("begins", "[1, 2]"))


async def test_a_wait_that_is_compared_before_it_has_looked_has_the_first_event_too(
    database_url: str, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, done = shop()
    looked = Steps._found

    async def found(steps: Steps, number: int, name: str) -> str:
        [(last,)] = await rows(other, "SELECT max(pos) FROM toque.event")
        await compare([last])
        return await looked(steps, number, name)

    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await harness.call("shop.ask", order="a", times=2)
        await harness.call("shop.pay", order="a", cents=1)
        await harness.call("shop.pay", order="a", cents=2)
    monkeypatch.setattr(Steps, "_found", found)
    async with running(app, database_url=database_url) as harness:
        messages = harness.serving.system.messages
        assert messages is not None
        [compare] = [each._compare for each in messages.services if isinstance(each, Matching)]
        await until(lambda: is_empty(other))

    assert done == ["a begins", "a [1, 2]"]


async def test_a_wait_that_is_cancelled_leaves_nothing(database_url: str, other: Store) -> None:
    app, _ = shop()
    async with running(app, database_url=database_url) as harness:
        id = await harness.call("shop.ask", order="a")
        await until(lambda: is_asleep(other))
        assert await harness.call("shop.cancel", id=id)
        await harness.call("shop.pay", order="a", cents=1)

        assert await rows(other, "SELECT job FROM toque.job_step") == []


async def test_an_event_of_an_older_version_is_upcast(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        await harness.call("shop.ask", order="a")
        await until(lambda: is_asleep(other))
        await _publish_old(other)
        await until(lambda: is_empty(other))

    assert done[-1] == "a [300]"


async def _publish_old(store: Store) -> None:
    from toque.log.append import append
    from toque.store.database import transaction_of

    async def run(database: Any) -> None:
        append(transaction_of(database), "Paid", 1, key="a", headers={}, data=b'{"order":"a","euros":3}')

    await store.command(run)


async def test_nothing_is_read_while_nobody_waits(database_url: str, other: Store) -> None:
    app, _ = shop()
    async with running(app, database_url=database_url) as harness:
        service = matching_of(harness)
        for number in range(5):
            await harness.call("shop.pay", order=f"{number}", cents=1)
        end = await service._reader.now()
        await until(lambda: service._place is not None and service._place.at >= end.at)

    assert await rows(other, "SELECT name FROM toque.job_wait_place") == []


def matching_of(harness: Harness) -> matching.Matching:
    services = harness.serving.system.messages.services  # type: ignore[union-attr]
    return next(each for each in services if isinstance(each, matching.Matching))
