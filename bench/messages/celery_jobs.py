"""Celery's tasks on Redis, acknowledged late, so that those of a worker that dies are done by another.

Results are ignored and each process prefetches 32 tasks, as its guide "Optimizing" advises for short ones. The broker
appends each write to a file and flushes that once a second.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import redis
from celery import Celery

from bench.messages.turn import DRAIN_S, SECONDS, WARM_UP_S, measured, said

URL = os.environ.get("BENCH_REDIS_URL", "")
FILLED_PER_S = 1_500
PROCESSES = 2
QUEUE, UNACKNOWLEDGED = "celery", "unacked"

app = Celery("bench.messages.celery_jobs", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=32,
    broker_connection_retry_on_startup=True,
)


@app.task(name="cook")
def cook(dish: str, portions: int) -> None: ...


def fill(count: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            cook.apply_async(("soup", number), producer=producer)


async def work() -> None:
    fill(int(FILLED_PER_S * (SECONDS + WARM_UP_S)))
    broker = redis.Redis.from_url(URL)

    async def waiting() -> int:
        return int(broker.llen(QUEUE)) + int(broker.hlen(UNACKNOWLEDGED))

    program = [
        sys.executable, "-m", "celery", "--app", "bench.messages.celery_jobs", "worker", "--loglevel", "ERROR",
        "--concurrency", str(PROCESSES), "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    before = await waiting()
    worker = subprocess.Popen(program, stdout=sys.stderr)
    try:
        async with asyncio.timeout(DRAIN_S):
            while await waiting() == before:
                await asyncio.sleep(0.05)
        found = await measured(waiting)
        has_run_dry = await waiting() == 0
    finally:
        worker.kill()  # What it has prefetched would keep a polite end waiting, and the broker is emptied anyway.
        worker.wait()
    said(found, errors=int(has_run_dry))


if __name__ == "__main__":
    asyncio.run(work())
