"""What is enqueued is done if its command is committed, once, by whom it may be, and when it may be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import pytest
import uvloop
from job_looks import act, is_empty, rows, until
from sqlalchemy import text

from toque import AllRows, App, Conflict, Delivery, Jobs, Principal, Retries, Steps, public
from toque.contract.errors import Unavailable
from toque.contract.job import ATTEMPTS_MAX, Again, GiveUp
from toque.messages.jobs.worker import Worker
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import running


class Log(list[Any]):
    """What jobs of a test have done, in their order."""


def kitchen() -> tuple[App, Log]:
    app, log = App("kitchen"), Log()

    @app.job()
    async def cook(dish: str, number: int = 1, *, who: Principal, delivery: Delivery) -> None:
        log.append((dish, number, who.subject, delivery.attempt))
        if dish == "burnt":
            raise ValueError("it is black")

    @app.job(retries=Retries(attempts_max=3, first_s=0.01))
    async def fry(dish: str, delivery: Delivery) -> None:
        log.append((dish, delivery.attempt))
        raise ValueError("the oil is cold")

    @app.job()
    async def note(dish: str, db: AllRows) -> str:
        await db.execute(text("INSERT INTO noted (dish) VALUES (:dish)"), {"dish": dish})
        log.append(dish)
        return dish.upper()

    @app.job(retries=Retries(attempts_max=2, first_s=0.01))
    async def wait_for(delivery: Delivery) -> None:
        log.append(delivery.attempt)
        if delivery.attempt == 1:
            raise Again(0.02)
        raise GiveUp("nobody came")

    @app.command(allow=public)
    async def order(dish: str, jobs: Jobs, fails: bool = False) -> str:
        id = jobs.enqueue(cook, dish, 2)
        if fails:
            raise Conflict("closed")
        return str(id)

    @app.command(allow=public)
    async def order_fried(jobs: Jobs) -> None:
        jobs.enqueue(fry, "chips")

    @app.command(allow=public)
    async def order_noted(dishes: list[str], jobs: Jobs) -> None:
        jobs.enqueue_many(note, [(dish,) for dish in dishes])

    @app.command(allow=public)
    async def order_waiting(jobs: Jobs) -> None:
        jobs.enqueue(wait_for)

    return app, log


async def test_a_job_is_done_if_its_command_is_committed(database_url: str, other: Store) -> None:
    app, log = kitchen()
    async with running(app, database_url=database_url) as harness:
        with pytest.raises(Conflict):
            await harness.call("kitchen.order", dish="fish", fails=True)
        await harness.call("kitchen.order", principal=Principal(subject="ada"), dish="soup")
        await until(lambda: log)
        await until(lambda: is_empty(other))

    assert log == [("soup", 2, "ada", 1)]


async def test_a_job_in_a_transaction_leaves_the_list_with_its_commit(database_url: str, other: Store) -> None:
    app, log = kitchen()
    await act(other, "CREATE TABLE noted (dish text)")
    dishes = [f"dish {number}" for number in range(25)]
    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order_noted", dishes=dishes)
        await until(lambda: len(log) == 25)
        await until(lambda: is_empty(other))

    assert sorted(log) == sorted(dishes)
    assert sorted(row[0] for row in await rows(other, "SELECT dish FROM noted")) == sorted(dishes)
    results = await rows(other, "SELECT outcome, result FROM toque.job_result")
    assert sorted(results) == sorted(("done", f'"{dish.upper()}"') for dish in dishes)


async def test_what_fails_is_tried_again_and_then_put_aside(database_url: str, other: Store) -> None:
    app, log = kitchen()
    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order_fried")
        (dead,) = await until(lambda: rows(other, "SELECT name, attempt, reason, errors FROM toque.job_dead"))

    assert log == [("chips", 1), ("chips", 2), ("chips", 3)]
    assert dead[:3] == ("kitchen.fry", 3, "it failed 3 times")
    assert dead[3].count("ValueError: the oil is cold") >= 3
    assert await is_empty(other)


async def test_a_job_says_itself_when_to_come_again_and_when_not(database_url: str, other: Store) -> None:
    app, log = kitchen()
    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order_waiting")
        (dead,) = await until(lambda: rows(other, "SELECT attempt, reason FROM toque.job_dead"))

    assert log == [1, 2]
    assert dead == (2, "nobody came")


@pytest.mark.parametrize("pause", [float("inf"), timedelta.max])
async def test_a_pause_without_end_is_a_long_one(database_url: str, other: Store, pause: float | timedelta) -> None:
    """No database knows when that is: it could not be written down, and the job began anew at once, for ever."""
    app, log = App("kitchen"), Log()

    @app.job()
    async def rest(delivery: Delivery) -> None:
        log.append(delivery.attempt)
        raise Again(pause)

    @app.job()
    async def sleep(delivery: Delivery, steps: Steps) -> None:
        log.append(delivery.attempt)
        await steps.sleep("long", pause)

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        jobs.enqueue(rest)
        jobs.enqueue(sleep)

    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order")
        await until(lambda: _are_later(other, 2))

    assert log == [1, 1]


async def _are_later(store: Store, count: int) -> bool:
    return await rows(store, "SELECT count(*) FROM toque.job WHERE state = 2") == [(count,)]


async def test_a_pause_that_is_no_number_is_none(database_url: str, other: Store) -> None:
    app, log = App("kitchen"), Log()

    @app.job(retries=Retries(attempts_max=2))
    async def rest(delivery: Delivery) -> None:
        log.append(delivery.attempt)
        raise Again(float("nan"))

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        jobs.enqueue(rest)

    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order")
        await until(lambda: rows(other, "SELECT id FROM toque.job_dead"))

    assert log == [1, 2]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no words")


def leave() -> NoReturn:
    raise SystemExit(3)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def cancel() -> NoReturn:
    raise asyncio.CancelledError


def be_mute() -> NoReturn:
    raise Mute


def say_what_no_text_holds() -> NoReturn:
    raise ValueError("a null \0, and half a surrogate \ud800")


def give_up_with_what_no_text_holds() -> NoReturn:
    raise GiveUp("a null \0, and half a surrogate \ud800")


def say_much() -> NoReturn:
    raise ValueError("x" * 1_000_000)


@pytest.mark.parametrize(
    "fail", [leave, interrupt, cancel, be_mute, say_what_no_text_holds, give_up_with_what_no_text_holds, say_much]
)
@pytest.mark.parametrize("kind", ["in the loop", "in a thread", "in a step"])
async def test_whatever_a_job_raises_is_a_failure_of_that_job_alone(
    database_url: str, other: Store, fail: Callable[[], NoReturn], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest-xdist hands on what is logged, and no half of a surrogate.
    caplog.set_level(logging.CRITICAL + 1, logger="toque")
    app, begun = App("kitchen"), Log()
    retries = Retries(attempts_max=2, first_s=0.01)

    @app.job(name="break", retries=retries)
    async def in_the_loop(delivery: Delivery) -> None:
        begun.append(delivery.attempt)
        fail()

    @app.job(name="break in a thread", retries=retries)
    def in_a_thread(delivery: Delivery) -> None:
        begun.append(delivery.attempt)
        fail()

    async def step() -> None:
        fail()

    @app.job(name="break in a step", retries=retries)
    async def in_a_step(steps: Steps, delivery: Delivery) -> None:
        begun.append(delivery.attempt)
        await steps.run("step", step)

    @app.job()
    async def cook(dish: str) -> str:
        return dish

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        if kind == "in the loop":
            jobs.enqueue(in_the_loop)
        elif kind == "in a thread":
            jobs.enqueue(in_a_thread)
        else:
            jobs.enqueue(in_a_step)
        jobs.enqueue(cook, "soup")

    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order")
        ((attempt, errors),) = await until(lambda: rows(other, "SELECT attempt, errors FROM toque.job_dead"))
        await until(lambda: is_empty(other))

    assert begun == list(range(1, attempt + 1))
    assert attempt == (1 if fail is give_up_with_what_no_text_holds else 2)
    assert fail.__name__ in errors or fail is say_much
    assert await rows(other, "SELECT result FROM toque.job_result") == [('"soup"',)]


async def test_a_job_that_never_ends_is_abandoned_and_its_place_given_to_others(
    database_url: str, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toque.messages.jobs.runner.STUCK_S", 0.1)
    app, log, go_on = App("kitchen"), Log(), asyncio.Event()
    await act(other, "CREATE TABLE noted (dish text)")

    @app.job(deadline_s=0.1, retries=Retries(attempts_max=1))
    async def stew(db: AllRows) -> None:
        await db.execute(text("INSERT INTO noted (dish) VALUES ('stew')"))
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                pass
        log.append("stewed")

    @app.job()
    async def note(dish: str, db: AllRows) -> None:
        await db.execute(text("INSERT INTO noted (dish) VALUES (:dish)"), {"dish": dish})

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        jobs.enqueue(stew)
        jobs.enqueue(note, "soup")

    settings = Settings(messages=Messages(jobs_max=1))
    async with running(app, settings=settings, database_url=database_url) as harness:
        await harness.call("kitchen.order")
        ((reason, errors),) = await until(lambda: rows(other, "SELECT reason, errors FROM toque.job_dead"))
        await until(lambda: is_empty(other))
        go_on.set()
        await until(lambda: log)

    assert reason == "it failed"
    assert "no notice of its deadline" in errors
    assert await rows(other, "SELECT dish FROM noted") == [("soup",)]


async def test_what_need_not_be_kept_any_more_is_gone_however_much_it_is(
    database_url: str, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand a minute were swept, whatever was left to sweep, so that a busy app's results became ever more; and the
    steps of dead letters were never."""
    monkeypatch.setattr("toque.messages.jobs.worker.SWEEP_S", 0.0)
    monkeypatch.setattr("toque.messages.jobs.worker.LOOK_S", 0.05)
    monkeypatch.setattr("toque.messages.jobs.table.SWEPT_MAX", 4)
    is_postgresql = other.dialect_name == "postgresql"
    past = "'2020-01-01'" if is_postgresql else "1577836800"
    for number in range(10):
        id = str(UUID(int=number))
        await act(
            other,
            "INSERT INTO toque.job_result (id, name, outcome, headers, at, until) "
            f"VALUES ('{id}', 'kitchen.note', 'done', '{{}}', {past}, {past})",
        )
        await act(
            other,
            "INSERT INTO toque.job_dead "
            "(id, queue, name, priority, key, headers, data, attempt, crashes, reason, errors, at, died) VALUES "
            f"('{id}', 'default', 'kitchen.fry', 0, '', '{{}}', '{{}}', 1, 0, '', '', {past}, {past})",
        )
        await act(other, f"INSERT INTO toque.job_step (job, number, name) VALUES ('{id}', 1, 'heat')")

    app, log = kitchen()
    async with running(app, database_url=database_url) as harness:
        monkeypatch.setattr("toque.messages.jobs.worker.SWEEP_S", 60.0)  # The first is due at once, and no second one.
        await harness.call("kitchen.order", dish="soup")
        await until(lambda: log)
        for table in ("job_result", "job_dead", "job_step"):
            await until(lambda table=table: _is_swept(other, table))


async def _is_swept(store: Store, table: str) -> bool:
    return not await rows(store, f"SELECT 1 FROM toque.{table}")


async def test_jobs_that_take_long_keep_nobody_from_beginning(database_url: str, other: Store) -> None:
    """Nothing is claimed ahead of such jobs, and a worker took that for less than nothing: it stood still for good."""
    app = App("bakery")
    done: list[int] = []

    @app.job()
    async def rise(number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(number)

    @app.command(allow=public)
    async def order(numbers: list[int], seconds: float, jobs: Jobs) -> None:
        jobs.enqueue_many(rise, [(number, seconds) for number in numbers])

    settings = Settings(messages=Messages(jobs_max=50))
    async with running(app, settings=settings, database_url=database_url) as harness:
        await harness.call("bakery.order", numbers=list(range(50)), seconds=1.5)
        await until(lambda: is_empty(other))
        await harness.call("bakery.order", numbers=[50], seconds=0.0)
        await until(lambda: is_empty(other))

    assert sorted(done) == list(range(51))


def test_jobs_that_are_due_one_after_the_other_all_begin_under_uvloop(tmp_path: Path) -> None:
    # Its timers of less than half a millisecond are others than asyncio's.
    app, log = App("kitchen"), Log()

    @app.job()
    async def cook(number: int) -> None:
        log.append(number)

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        for number in range(500):
            jobs.enqueue(cook, number, delay=timedelta(milliseconds=number))

    async def run() -> None:
        async with running(app, database_url=f"sqlite:///{tmp_path}/kitchen.db") as harness:
            await harness.call("kitchen.order")
            await until(lambda: len(log) == 500)

    uvloop.run(run())
    assert sorted(log) == list(range(500))


def release(tp: type[int] | type[str], *, only_once: bool = False) -> tuple[App, Log]:
    app, log = App("release"), Log()
    retries = Retries(attempts_max=1) if only_once else Retries()

    async def bake(what: Any) -> None:
        log.append(what)

    bake.__annotations__["what"] = tp
    job = app.job(retries=retries)(bake)

    @app.command(allow=public)
    async def order(jobs: Jobs) -> None:
        jobs.enqueue(job, tp(7))

    return app, log


async def test_what_this_release_cannot_read_is_left_for_the_one_that_can(database_url: str, other: Store) -> None:
    """Two releases side by side: the old one may be given a job of the new one, and it is no dead letter for that."""
    (old, nothing), (new, log) = release(int, only_once=True), release(str)
    async with running(new, settings=Settings(messages=Messages(work=False)), database_url=database_url) as harness:
        await harness.call("release.order")
    async with running(old, database_url=database_url):
        await until(lambda: rows(other, "SELECT errors FROM toque.job WHERE errors LIKE '%at $.what%'"))
    async with running(new, database_url=database_url):
        await until(lambda: is_empty(other))

    assert (nothing, log) == ([], ["7"])


async def test_what_no_release_can_read_is_put_aside_in_the_end(database_url: str, other: Store) -> None:
    (old, nothing), (new, _) = release(int), release(str)
    async with running(new, settings=Settings(messages=Messages(work=False)), database_url=database_url) as harness:
        await harness.call("release.order")
    await act(other, f"UPDATE toque.job SET attempt = {ATTEMPTS_MAX - 1}")
    async with running(old, database_url=database_url):
        (dead,) = await until(lambda: rows(other, "SELECT reason FROM toque.job_dead"))

    assert (nothing, dead) == ([], ("its inputs fit the job no more",))


async def test_while_none_can_be_claimed_news_are_not_heard_and_it_is_said_once(
    database_url: str, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a pooler that was away the log itself told of jobs all the time: eleven lines a second."""
    app, log = kitchen()
    async with running(app, database_url=database_url) as harness:
        messages = harness.serving.system.messages
        assert messages is not None
        (worker,) = (service for service in messages.services if isinstance(service, Worker))
        looks, rings = 0, 100

        async def look(number: int) -> Any:
            nonlocal looks
            looks += 1
            raise Unavailable("the pooler is away")

        monkeypatch.setattr(worker._table, "look", look)
        await harness.call("kitchen.order", dish="soup")
        for _ in range(rings):
            messages.tail.ring()
            await asyncio.sleep(0.01)

        assert 1 <= looks < rings / 2
        assert caplog.text.count("no jobs can be claimed") == 1
        monkeypatch.undo()
        await until(lambda: log == [("soup", 2, "", 1)])
