"""One turn of a program that measures itself: what it is told, and what it says.

It finds BENCH_WARM_UP_S and BENCH_SECONDS in its environment, writes `measuring` when the warm-up is over and
`measured` when the measured time is, and then one line of JSON: what was done in it, how long that took, percentiles of
its delays, and how much of all that it claims to have done is not where it should be.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from statistics import quantiles
from time import perf_counter
from typing import Any

__all__ = ["Callers", "delays", "left", "measured", "said", "ticked"]

SECONDS, WARM_UP_S = float(os.environ.get("BENCH_SECONDS", "3")), float(os.environ.get("BENCH_WARM_UP_S", "0.5"))
DRAIN_S = 10.0
"""A call or a job that takes longer than this is lost."""


class Callers:
    """So many callers, each of which calls again as soon as it has been answered.

    Args:
        each: how many things one call does.
    """

    def __init__(self, call: Callable[[], Awaitable[Any]], at_once: int, each: int = 1) -> None:
        self._call, self._at_once, self._each = call, at_once, each
        self._is_over = self._is_measuring = False
        self.done = 0
        self.delays_s: list[float] = []

    async def measured(self) -> dict[str, float]:
        """The figures of one turn."""
        tasks = [asyncio.create_task(self._caller()) for _ in range(self._at_once)]
        try:
            found = await measured(self._count)
        finally:
            self._is_over = True
        async with asyncio.timeout(DRAIN_S):
            await asyncio.gather(*tasks)
        return found | delays(self.delays_s)

    async def _count(self) -> int:
        if not self._is_measuring:
            self._is_measuring = True
            self.delays_s.clear()
        return self.done

    async def _caller(self) -> None:
        while not self._is_over:
            began = perf_counter()
            await self._call()
            self.delays_s.append(perf_counter() - began)
            self.done += self._each


async def measured(count: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """How far *count* comes in the measured time, after the warm-up."""
    await asyncio.sleep(WARM_UP_S)
    before = await count()
    print("measuring", flush=True)
    began = perf_counter()
    await asyncio.sleep(SECONDS)
    after = await count()
    found = {"done": abs(after - before), "seconds": perf_counter() - began}
    print("measured", flush=True)
    return found


def delays(delays_s: Sequence[float]) -> dict[str, float]:
    """The percentiles that are reported."""
    if len(delays_s) < 2:
        return {}
    cuts = quantiles(delays_s, n=100)
    return {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}


async def left(url: str, count: str) -> int:
    """What the query *count* says, on a connection of its own."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval(count)
        return found
    finally:
        await connection.close()


async def ticked(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Come back once *is_so*. Raises: TimeoutError."""
    async with asyncio.timeout(DRAIN_S):
        while not await is_so():
            await asyncio.sleep(0.01)


def said(found: dict[str, float], *, errors: int = 0) -> None:
    """Report *found*."""
    print(json.dumps(found | {"errors": errors}), flush=True)
