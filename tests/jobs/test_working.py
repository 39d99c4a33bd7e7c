"""What is enqueued is done if its command is committed, once, by whom it may be, and when it may be."""

from __future__ import annotations

from typing import Any

import pytest
from job_looks import act, is_empty, rows, until
from sqlalchemy import text

from toque import AllRows, App, Conflict, Delivery, Jobs, Principal, Retries, public
from toque.contract.job import Again, GiveUp
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
