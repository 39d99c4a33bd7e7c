"""How soon an answer is gone from one process's memory after another has committed a change to what it read.

The writer is another process of the same app, or a connection like psql's, of which nobody is told but by the log.
"""

from __future__ import annotations

import asyncio
import random
import sys
from time import monotonic
from typing import Any

import asyncpg
import uvloop

from bench.cache.menu import DISHES, URL, app, committed, prepare, settings
from bench.messages.turn import SECONDS, WARM_UP_S, delays, said, ticked
from toque.testing import Harness, running

GAP_S = 0.02  # between two commits on average; at random, so that no clock of ours keeps step with them
SEED = 20_251_130
gone: dict[int, float] = {}


async def keep_all(kitchen: Harness) -> None:
    """Have the answer about each dish in memory, and be told when it goes. Each is changed once, so once is enough."""
    system = kitchen.serving.system
    cache = system.cache
    assert cache is not None
    assert cache.is_on, cache.why_off
    query = cache.queries["bench.version"]
    for dish in range(1, DISHES + 1):
        await kitchen.call("bench.version", id=dish)
        key = query.knowledge.key((dish,), _anonymous(), _encoded)
        value: Any = cache.entries.find(key)
        assert cache.runner.watch(key, value, lambda dish=dish: gone.setdefault(dish, monotonic())), "it is kept"


def _anonymous() -> Any:
    from toque.contract.principal import ANONYMOUS

    return ANONYMOUS


def _encoded(inputs: Any) -> bytes:
    from toque.cache.policy import _encode_inputs

    return _encode_inputs(inputs)


async def reader(writer: str) -> None:
    await prepare()
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        await keep_all(kitchen)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.cache.eviction", f"write_{writer}", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        commits: dict[int, float] = {}
        first = 1
        while line := (await process.stdout.readline()).decode():
            words = line.split()
            if words[0] in ("measuring", "measured"):
                print(words[0], flush=True)
            elif words[0] == "first":
                first = int(words[1])
            else:
                commits[int(words[0])] = float(words[1])
        await process.wait()

        async def is_gone() -> bool:
            return commits.keys() <= gone.keys()

        await ticked(is_gone)
    waits = [max(gone[dish] - at, 0.0) for dish, at in commits.items() if dish >= first]
    said({"done": len(waits), "seconds": SECONDS, **delays(waits)}, errors=int(not waits))


async def write_toque() -> None:
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        await write(lambda dish: kitchen.call("bench.renew", id=dish, number=dish))


async def write_psql() -> None:
    connection = await asyncpg.connect(URL)

    async def renew(dish: int) -> None:
        await connection.execute("UPDATE dish SET version = $1 WHERE id = $1", dish)
        committed[dish] = monotonic()

    await write(renew)
    await connection.close()


async def write(renew: Any) -> None:
    """Change one dish after the other, for the length of a turn."""
    gaps, dish, first = random.Random(SEED), 0, 0
    until = monotonic() + WARM_UP_S + SECONDS
    while monotonic() < until and dish < DISHES:
        dish += 1
        if not first and monotonic() > until - SECONDS:
            first = dish
            print("measuring", flush=True)
        await renew(dish)
        await asyncio.sleep(gaps.expovariate(1 / GAP_S))
    print("measured", flush=True)
    for each, at in committed.items():
        print(each, at)
    print("first", first, flush=True)


PROGRAMS = {
    "toque": lambda: reader("toque"),
    "psql": lambda: reader("psql"),
    "write_toque": write_toque,
    "write_psql": write_psql,
}

if __name__ == "__main__":
    uvloop.run(PROGRAMS[sys.argv[1]]())
