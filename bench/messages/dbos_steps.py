"""DBOS: one workflow after the other, each of a hundred steps, on PostgreSQL."""

from __future__ import annotations

import asyncio
import os

import uvloop
from dbos import DBOS

from bench.messages.turn import measured, said

STEPS = 100

DBOS(
    config={
        "name": "bench",
        "system_database_url": os.environ.get("BENCH_POSTGRES_URL", ""),
        "log_level": "ERROR",
        "run_admin_server": False,
    }
)
taken = 0


@DBOS.step()
async def stir(number: int) -> int:
    global taken
    taken += 1
    return number


@DBOS.workflow()
async def recipe() -> None:
    for number in range(STEPS):
        await stir(number)


async def one_after_the_other() -> None:
    while True:
        await recipe()


async def steps_taken() -> int:
    return taken


async def step() -> None:
    following = asyncio.create_task(one_after_the_other())
    found = await measured(steps_taken)
    said(found)
    following.cancel()


if __name__ == "__main__":
    DBOS.launch()
    uvloop.run(step())
    os._exit(0)  # Its threads would be waited for.
