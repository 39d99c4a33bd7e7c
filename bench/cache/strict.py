"""Ten rows of four tables, 100 at once: from memory and strict, and asked of PostgreSQL each time."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import asyncpg
import uvloop

from bench.cache.menu import JOIN_SQL, ORDERS, POOL_SIZE, URL, LineView, app, prepare, settings
from bench.messages.turn import Callers, said
from toque.call.context import Context
from toque.testing import running

AT_ONCE = 100


def orders() -> Iterator[int]:
    return (1 + number * 7919 % ORDERS for number in count())


async def from_memory() -> None:
    await by_call("bench.order")


async def uncached() -> None:
    await by_call("bench.order_read")


async def by_call(operation: str) -> None:
    await prepare()
    asked = orders()
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        plan = kitchen.serving.system.plans[operation]

        # As a transport does it. There is no wire on either side: `direct` has none.
        async def call() -> list[LineView]:
            found: list[LineView] = await plan.call(Context.within(operation, plan.deadline_s), (next(asked),))
            return found

        await measure(call)


async def direct() -> None:
    """With nothing but the driver; what comes back is made what the others answer."""
    await prepare()
    asked = orders()
    async with asyncpg.create_pool(URL, min_size=POOL_SIZE, max_size=POOL_SIZE, reset=keep_session) as pool:

        async def read() -> list[LineView]:
            return [LineView(*row) for row in await pool.fetch(JOIN_SQL, next(asked))]

        await measure(read)


async def keep_session(connection: Any) -> None:
    """Leave a returned connection as it is (see `contenders/raw_postgres.py`)."""


async def measure(call: Callable[[], Awaitable[Any]]) -> None:
    said(await Callers(call, AT_ONCE).measured())


PROGRAMS = {"memory": from_memory, "uncached": uncached, "direct": direct}

if __name__ == "__main__":
    uvloop.run(PROGRAMS[sys.argv[1]]())
