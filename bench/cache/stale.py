"""How many answers miss a commit that was acknowledged before they were asked for: three processes, which read and
write the same rows, with delays wherever a message or an answer is on its way.

Between the query and keeping what it found lie up to 50 ms, and up to 20 ms between a commit and telling others of it.
Rows are changed twice within 40 ms, as people do who correct themselves, and then left alone for a while.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import uvloop

from bench.cache.menu import URL, app, prepare, settings
from bench.cache.peers import PEERS, Read, Source, Write
from bench.cache.record import KEYS, Record
from bench.messages.turn import SECONDS, WARM_UP_S, said
from toque.testing import running

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "")
PROCESSES, READERS = 3, 4
FILL_DELAY_S, TELL_DELAY_S, CORRECTED_S, LEFT_ALONE_S, PAUSE_S = 0.05, 0.02, 0.04, 1.2, 0.004
BOUND_S = 1.0
"""What an answer of ours may miss unless it is strict (`cache.bound_s`)."""

SELECT = "SELECT version FROM dish WHERE id = $1"
UPDATE = "UPDATE dish SET version = $2 WHERE id = $1"

Work = Callable[[Read, Write], Awaitable[None]]


class Worker:
    """One process's readers, and the writers of its share of the rows."""

    def __init__(self, number: int, record: Record, bound_s: float) -> None:
        self._number, self._record, self._bound_s = number, record, bound_s
        self._chance = random.Random(number)
        self._ends_at = monotonic() + WARM_UP_S + SECONDS
        self.reads = self.stale = 0

    async def run(self, read: Read, write: Write) -> None:
        own = range(self._number, KEYS, PROCESSES)
        async with asyncio.TaskGroup() as group:
            for key in own:
                group.create_task(self._write_now_and_then(key, write))
            for _ in range(READERS):
                group.create_task(self._read_on(read))

    async def _write_now_and_then(self, key: int, write: Write) -> None:
        version = 0
        while monotonic() < self._ends_at:
            await asyncio.sleep(self._chance.expovariate(1 / LEFT_ALONE_S))
            for pause_s in (self._chance.uniform(0, CORRECTED_S), 0):
                version += 1
                await write(1 + key, version)
                self._record.acknowledge(key, version)
                await asyncio.sleep(pause_s)

    async def _read_on(self, read: Read) -> None:
        while monotonic() < self._ends_at:
            key, began = self._chance.randrange(KEYS), monotonic()
            expected = self._record.acknowledged(key)
            version = await read(1 + key)
            if began > self._ends_at - SECONDS:
                self.reads += 1
                missed = version < expected and began - self._record.acknowledged_at(key, version + 1)
                self.stale += missed is not False and missed > self._bound_s
            await asyncio.sleep(self._chance.uniform(0, PAUSE_S))


def pause(most_s: float) -> Awaitable[None]:
    return asyncio.sleep(random.uniform(0, most_s))


async def ours(operation: str, work: Work) -> None:
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        delay_ours(kitchen.serving.system)
        await work(
            lambda id: kitchen.call(operation, id=id),
            lambda id, version: kitchen.call("bench.renew", id=id, number=version),
        )


def delay_ours(system: Any) -> None:
    """Put the delays where ours keeps answers and rings for others."""
    for query in system.cache.queries.values():
        query._fly = partial(_late, query._fly)
    wire = system.cache._tail._wire
    wire.ring = partial(_after_a_pause, wire.ring)


async def _late(fly: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    landing = await fly(*arguments)
    await pause(FILL_DELAY_S)
    return landing


async def _after_a_pause(ring: Callable[[], Awaitable[None]]) -> None:
    await pause(TELL_DELAY_S)
    await ring()


async def theirs(peer: str, work: Work) -> None:
    async with asyncpg.create_pool(URL, min_size=READERS, max_size=READERS) as pool:

        async def read(id: int) -> int:
            version = await pool.fetchval(SELECT, id)
            await pause(FILL_DELAY_S)
            return int(version)

        async def write(id: int, version: int) -> None:
            await pool.execute(UPDATE, id, version)
            await pause(TELL_DELAY_S)

        source = Source(URL, REDIS_URL, read, write, FILL_DELAY_S, TELL_DELAY_S)
        await work(*await PEERS[peer](source))


async def worker(way: str, number: int, file: Path) -> None:
    bound_s = BOUND_S if way.endswith("bound") else 0.0
    name = way.split("_", maxsplit=1)[0]
    operation = "bench.version" if bound_s else "bench.version_strict"
    serve = partial(theirs, name) if name in PEERS else partial(ours, operation)

    async def work(read: Read, write: Write) -> None:
        for key in range(KEYS):
            await read(1 + key)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        mine = Worker(number, Record(file), bound_s)
        await mine.run(read, write)
        print(json.dumps({"reads": mine.reads, "stale": mine.stale}), flush=True)

    await serve(work)


async def main(way: str) -> None:
    await prepare()
    with tempfile.NamedTemporaryFile(prefix="toque-bench-record-") as file:
        file.truncate(Record.size())
        words = [sys.executable, "-m", "bench.cache.stale", way, file.name]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        workers = [await asyncio.create_subprocess_exec(*words, str(n), **pipes) for n in range(PROCESSES)]
        for each in workers:
            if await each.stdout.readline() != b"ready\n":  # type: ignore[union-attr]
                raise SystemExit("a worker ended before it was ready")
        for each in workers:
            each.stdin.write(b"\n")  # type: ignore[union-attr]
        await asyncio.sleep(WARM_UP_S)
        print("measuring", flush=True)
        await asyncio.sleep(SECONDS)
        print("measured", flush=True)
        found = [json.loads(await each.stdout.readline()) for each in workers]  # type: ignore[union-attr]
        for each in workers:
            await each.wait()
    reads, stale = sum(each["reads"] for each in found), sum(each["stale"] for each in found)
    said({"done": reads, "seconds": SECONDS, "stale_reads": stale})


if __name__ == "__main__":
    chosen, *rest = sys.argv[1:]
    uvloop.run(worker(chosen, int(rest[1]), Path(rest[0])) if rest else main(chosen))
