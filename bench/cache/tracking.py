"""What it costs to note what a statement reads, beside executing that statement: one row by its key."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import uvloop

from bench.cache.menu import DISHES, URL, VERSION, app, prepare, settings
from bench.messages.turn import Callers, delays, measured, said
from toque.cache.noting import Noting
from toque.cache.predicates import ReadSet
from toque.call.context import Context
from toque.contract.principal import ANONYMOUS
from toque.store.plans import Plan
from toque.testing import running

BATCH, READS = 1_000, 50


class Spy:
    """Hears how the store tells of a statement."""

    heard: tuple[Plan, Sequence[Any], Mapping[str, Any] | None]

    def statement(self, *told: Any) -> None:
        self.heard = told  # type: ignore[assignment]

    def untracked(self, arguments: Any) -> None: ...


async def statement() -> None:
    """One after the other, fifty in one snapshot: little but the statement."""
    await prepare()
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        store = kitchen.serving.system.store
        assert store is not None

        delays_s: list[float] = []

        async def read(db: Any) -> None:
            began = perf_counter()
            for number in range(READS):
                await db.scalar(VERSION, {"id": 1 + number})
            delays_s.append((perf_counter() - began) / READS)

        found = await Callers(partial(store.query, read), 1, each=READS).measured()
        said(found | delays(delays_s))


async def tracking() -> None:
    await prepare()
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        store, cache, spy = kitchen.serving.system.store, kitchen.serving.system.cache, Spy()
        assert store is not None
        assert cache is not None
        context = Context("bench", 1e18)
        context.reads = spy
        await store.query(lambda db: db.scalar(VERSION, {"id": 1}), context)
        plan, binds, _ = spy.heard
        done, parts, delays_s = 0, list[ReadSet](), list[float]()
        is_over = False

        async def note() -> None:
            nonlocal done
            while not is_over:
                began = perf_counter()
                for number in range(BATCH):
                    noting = Noting(cache.readings, cache.captured, ANONYMOUS, parts.append)
                    noting.statement(plan, binds, {"id": number % DISHES})
                delays_s.append((perf_counter() - began) / BATCH)
                done += BATCH
                assert len(parts) == BATCH, "each is tracked"
                parts.clear()
                await asyncio.sleep(0)

        async def counted() -> int:
            return done

        noting = asyncio.create_task(note())
        found = await measured(counted)
        is_over = True
        await noting
        said(found | delays(delays_s))


PROGRAMS: dict[str, Callable[[], Any]] = {"tracking": tracking, "statement": statement}

if __name__ == "__main__":
    uvloop.run(PROGRAMS[sys.argv[1]]())
