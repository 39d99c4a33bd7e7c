"""`python -m bench.messages.horizon`: events and jobs while a long reader holds PostgreSQL's vacuum horizon.

The reader's snapshot keeps the server from removing a row that anybody deletes, so a queue whose rows change hands
grows, and each look for the next one walks over what is dead. Before it and beside it the same is measured: events
that are published and handled, and jobs that are enqueued by the hundred and worked on, each a second at a time in
turns, so that a neighbour's burst hits both. fsync and autovacuum are on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from statistics import median
from time import monotonic

import asyncpg
import uvloop

from bench.machine import description
from bench.messages.production import in_production
from bench.postgres import DURABLE, postgres
from toque import App, Event, Jobs, Outbox, public
from toque.settings import Database, Messages
from toque.testing import Harness, running

CALLERS, BATCH, SLOTS = 16, 100, 10
TURN_S = 2.0
BEHIND_MAX = 1000  # Nobody runs further ahead of who handles than this, so that what is measured is both of them.
GOALS = {"events": 0.95, "jobs": 0.6}

SETTINGS = DURABLE | {"autovacuum": "on", "autovacuum_naptime": "10s"}

app = App("bench")
done = {"events": 0, "jobs": 0}
begun = {"events": 0, "jobs": 0}


class Rung(Event):
    number: int


@app.on(Rung)
async def hear(event: Rung) -> None:
    done["events"] += 1


@app.job()
async def cook(number: int) -> None:
    done["jobs"] += 1


@app.command(allow=public)
async def ring(outbox: Outbox) -> None:
    outbox.publish(Rung(1))


@app.command(allow=public)
async def order(count: int, jobs: Jobs) -> None:
    jobs.enqueue_many(cook, [(number,) for number in range(count)])


async def turn(kitchen: Harness, what: str) -> float:
    """How many a second are handled while others are published, or enqueued."""
    callers, each = (CALLERS, 1) if what == "events" else (1, BATCH)
    call: Callable[[], Awaitable[None]] = (
        (lambda: kitchen.call("bench.ring")) if what == "events" else lambda: kitchen.call("bench.order", count=BATCH)
    )
    until = monotonic() + TURN_S

    async def caller() -> None:
        while monotonic() < until:
            if begun[what] - done[what] > BEHIND_MAX:
                await asyncio.sleep(0.002)
                continue
            begun[what] += each
            await call()

    before, began = done[what], monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    while done[what] < begun[what]:
        await asyncio.sleep(0.002)
    return (done[what] - before) / (monotonic() - began)


async def turns(kitchen: Harness, seconds: float) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {what: [] for what in done}
    until = monotonic() + seconds
    while monotonic() < until:
        for what, seen in rates.items():
            seen.append(await turn(kitchen, what))
    return rates


async def measure(url: str, before_s: float, held_s: float) -> dict[str, tuple[list[float], list[float]]]:
    settings = in_production(database=Database(pool_size=CALLERS), messages=Messages(jobs_max=SLOTS))
    async with running(app, settings=settings, database_url=url) as kitchen:
        await turns(kitchen, before_s / 4)  # to warm up
        before = await turns(kitchen, before_s)
        reader = await asyncpg.connect(url)
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            await reader.fetchval("SELECT count(*) FROM toque.job")
            held = await turns(kitchen, held_s)
            dead = "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'toque.job'::regclass"
            print(f"dead rows of the jobs' table at the end: {await asked(url, dead):,}")
        await reader.close()
    return {what: (before[what], held[what]) for what in before}


async def asked(url: str, question: str) -> int:
    connection = await asyncpg.connect(url)
    answer: int = await connection.fetchval(question)
    await connection.close()
    return answer


def main() -> int:
    made = argparse.ArgumentParser("python -m bench.messages.horizon", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--minutes", type=float, default=10.0, help="how long the reader stays (default 10)")
    minutes = made.parse_args().minutes
    with postgres(None, SETTINGS) as server:
        found = uvloop.run(measure(server.url, min(60.0, minutes * 20), minutes * 60))
    print(f"{description()}. Load average {os.getloadavg()[0]:.1f}. A reader for {minutes:g} minutes.")
    is_met = True
    for what, (before, held) in found.items():
        # Its last third: what grows is worst at the end.
        late = held[-max(len(held) // 3, 1) :]
        share = median(late) / median(before)
        is_met = is_met and share >= GOALS[what]
        print(
            f"{what:7} {median(before):8,.0f}/s before, {median(held):8,.0f}/s beside it, {median(late):8,.0f}/s in its"
            f" last third: {share:.2f} x (goal {GOALS[what]} x)"
        )
    return int(not is_met)


if __name__ == "__main__":
    sys.exit(main())
