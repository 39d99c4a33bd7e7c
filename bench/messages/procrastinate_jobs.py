"""Procrastinate's jobs on PostgreSQL: as its documentation shows, what is done deleted, with connections to spare."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from procrastinate import App, PsycopgConnector

from bench.messages.turn import SECONDS, WARM_UP_S, Callers, left, measured, said

URL = os.environ.get("BENCH_POSTGRES_URL", "")
CALLERS, BATCH, SLOTS = 16, 500, 10
FILLED_PER_S = 2_000
CONNECTIONS = 20
WAITING = "SELECT count(*) FROM procrastinate_jobs"

app = App(connector=PsycopgConnector(conninfo=URL, min_size=CONNECTIONS, max_size=CONNECTIONS))


@app.task(name="cook")
async def cook(dish: str, portions: int) -> None: ...


async def enqueue() -> None:
    callers = Callers(lambda: cook.defer_async(dish="soup", portions=2), CALLERS)
    found = await callers.measured()
    said(found, errors=abs(await left(URL, WAITING) - callers.done))


async def enqueue_many() -> None:
    callers = Callers(lambda: batch(BATCH), 1, BATCH)
    found = await callers.measured()
    said(found, errors=abs(await left(URL, WAITING) - callers.done))


async def batch(count: int) -> None:
    await cook.batch_defer_async(*({"dish": "soup", "portions": number} for number in range(count)))


async def work() -> None:
    await batch(int(FILLED_PER_S * (SECONDS + WARM_UP_S)))
    worker = asyncio.create_task(
        app.run_worker_async(concurrency=SLOTS, delete_jobs="successful", install_signal_handlers=False)
    )
    found = await measured(lambda: left(URL, WAITING))
    has_run_dry = await left(URL, WAITING) == 0
    worker.cancel()
    await asyncio.wait((worker,))
    said(found, errors=int(has_run_dry))


async def main(name: str) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await {"enqueue": enqueue, "enqueue_many": enqueue_many, "work": work}[name]()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
