"""Toque's jobs on PostgreSQL: enqueued one by one, in batches, worked on ten at a time, and step by step.

Commands are called in memory, through the plan that a served one has, so that what is compared is jobs and not HTTP.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from bench.messages.production import in_production
from bench.messages.turn import SECONDS, WARM_UP_S, Callers, left, measured, said
from toque import App, Jobs, Steps, public
from toque.settings import Database, Messages, Settings
from toque.testing import running

URL = os.environ.get("BENCH_POSTGRES_URL", "")
CALLERS, BATCH, SLOTS = 16, 500, 10
FILLED_PER_S = 20_000  # Jobs that wait when a turn of `work` begins, for each of its seconds: more than it can do.
FILLED_AT_ONCE = 10_000
KEYS = 100
STEPS, RECIPES = 100, 200  # Steps of one job, so that the job itself costs a hundredth; and jobs.
WAITING = "SELECT count(*) FROM toque.job"

app = App("bench")
taken = 0


# Limits that hold nothing up, so that what is measured is their price.
app.queue("at_once", at_once=1000, rate="1000000/1s")
app.queue("per_key", at_once_per_key=1000)


@app.job()
async def cook(dish: str, portions: int) -> None: ...


@app.job(queue="at_once")
async def cook_within_limits(dish: str, portions: int) -> None: ...


@app.job(queue="per_key")
async def cook_by_key(dish: str, portions: int) -> None: ...


async def stir(number: int) -> int:
    global taken
    taken += 1
    return number


@app.job()
async def recipe(steps: Steps) -> None:
    for number in range(STEPS):
        await steps.run("stir", stir, number)


@app.command(allow=public)
async def order(dish: str, jobs: Jobs) -> None:
    jobs.enqueue(cook, dish, 2)


@app.command(allow=public)
async def order_many(dishes: int, jobs: Jobs) -> None:
    jobs.enqueue_many(cook, [("soup", number) for number in range(dishes)])


COOKS: dict[str, tuple[Any, list[str]]] = {
    "free": (cook, [""]),
    "at_once": (cook_within_limits, [""]),
    "per_key": (cook_by_key, [f"table {number}" for number in range(KEYS)]),
}


@app.command(allow=public)
async def order_within(limits: str, dishes: int, jobs: Jobs) -> None:
    job, keys = COOKS[limits]
    for key in keys:
        jobs.enqueue_many(job, [("soup", number) for number in range(dishes // len(keys))], key=key)


@app.command(allow=public)
async def order_by_recipe(count: int, jobs: Jobs) -> None:
    for _ in range(count):
        jobs.enqueue(recipe)


def settings(*, works: bool, slots: int = SLOTS) -> Settings:
    return in_production(database=Database(pool_size=CALLERS), messages=Messages(work=works, jobs_max=slots))


async def enqueue() -> None:
    async with running(app, settings=settings(works=False), database_url=URL) as kitchen:
        callers = Callers(lambda: kitchen.call("bench.order", dish="soup"), CALLERS)
        found = await callers.measured()
    said(found, errors=abs(await left(URL, WAITING) - callers.done))


async def enqueue_many() -> None:
    async with running(app, settings=settings(works=False), database_url=URL) as kitchen:
        callers = Callers(lambda: kitchen.call("bench.order_many", dishes=BATCH), 1, BATCH)
        found = await callers.measured()
    said(found, errors=abs(await left(URL, WAITING) - callers.done))


async def work(limits: str = "free") -> None:
    async with running(app, settings=settings(works=False), database_url=URL) as kitchen:
        for _ in range(int(FILLED_PER_S * (SECONDS + WARM_UP_S)) // FILLED_AT_ONCE):
            await kitchen.call("bench.order_within", limits=limits, dishes=FILLED_AT_ONCE)
    async with running(app, settings=settings(works=True), database_url=URL):
        found = await measured(lambda: left(URL, WAITING))
        has_run_dry = await left(URL, WAITING) == 0
    said(found, errors=int(has_run_dry))


async def step() -> None:
    async with running(app, settings=settings(works=True, slots=1), database_url=URL) as kitchen:
        await kitchen.call("bench.order_by_recipe", count=RECIPES)
        found = await measured(steps_taken)
        has_run_dry = taken >= RECIPES * STEPS
    said(found, errors=int(has_run_dry))


async def steps_taken() -> int:
    return taken


if __name__ == "__main__":
    programs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "enqueue": enqueue,
        "enqueue_many": enqueue_many,
        "work": work,
        "step": step,
    }
    uvloop.run(programs[sys.argv[1]](*sys.argv[2:]))
