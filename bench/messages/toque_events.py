"""Toque's events: how soon a handler starts after the commit, and how many a SQLite file takes.

The moment of a commit is when the store says that it is done, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from time import monotonic

import uvloop

from bench.messages.production import in_production
from bench.messages.turn import SECONDS, WARM_UP_S, Callers, delays, said, ticked
from toque import App, Database, Event, Outbox, public
from toque.settings import Messages
from toque.store.database import transaction_of
from toque.testing import Harness, running

URL = os.environ.get("BENCH_POSTGRES_URL", "")
PUBLISHERS = 64
GAP_S = 0.02  # Between two events on average; the gaps are random, so that no clock of ours keeps step with them.
SEED = 20_251_124

app = App("bench")
committed: dict[int, float] = {}
started: dict[int, float] = {}


class Rung(Event):
    number: int


@app.command(allow=public)
async def ring(number: int, db: Database, outbox: Outbox) -> None:
    transaction_of(db).after.append(lambda: committed.setdefault(number, monotonic()))
    outbox.publish(Rung(number))


@app.on(Rung)
async def hear(event: Rung) -> None:
    started.setdefault(event.number, monotonic())


async def ring_now_and_then(kitchen: Harness) -> int:
    """Ring for the length of a turn: the number of the first one that counts."""
    gaps, number, first = random.Random(SEED), 0, 0
    until = monotonic() + WARM_UP_S + SECONDS
    while monotonic() < until:
        if not first and monotonic() > until - SECONDS:
            first = number
            print("measuring", flush=True)
        await kitchen.call("bench.ring", number=number)
        number += 1
        await asyncio.sleep(gaps.expovariate(1 / GAP_S))
    print("measured", flush=True)
    return first


async def latency() -> None:
    async with running(app, settings=in_production(), database_url=URL) as kitchen:
        first = await ring_now_and_then(kitchen)
        await kitchen.settle()
    report(first, committed)


async def latency_polling() -> None:
    """The handler is here and the publisher is elsewhere, and never rings for anybody."""
    async with running(app, settings=in_production(), database_url=URL):
        publisher = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.messages.toque_events", "publisher", stdout=asyncio.subprocess.PIPE
        )
        assert publisher.stdout is not None
        theirs: dict[int, float] = {}
        while (line := (await publisher.stdout.readline()).decode()) and not line.startswith("first "):
            if line in ("measuring\n", "measured\n"):
                print(line, end="", flush=True)
            else:
                number, at = line.split()
                theirs[int(number)] = float(at)
        first = int(line.split()[1])
        await publisher.wait()

        async def is_heard() -> bool:
            return theirs.keys() <= started.keys()

        await ticked(is_heard)
    report(first, theirs)


async def publisher() -> None:
    async with running(app, settings=in_production(messages=Messages(work=False)), database_url=URL) as kitchen:
        messages = kitchen.serving.system.messages
        assert messages is not None
        messages.tail.ring = lambda: None  # type: ignore[method-assign]
        messages._bell.ring = lambda: None
        first = await ring_now_and_then(kitchen)
        for number, at in committed.items():
            print(number, at)
        print("first", first, flush=True)


def report(first: int, commits: dict[int, float]) -> None:
    missing = commits.keys() - started.keys()
    waits = [
        max(started[number] - at, 0.0) for number, at in commits.items() if number >= first and number not in missing
    ]
    said({"done": len(waits), "seconds": SECONDS, **delays(waits)}, errors=len(missing))


async def publish_sqlite() -> None:
    """64 at once, each heard of when it is on the disk."""
    async with running(app, settings=in_production(messages=Messages(work=False))) as kitchen:
        callers = Callers(lambda: kitchen.call("bench.ring", number=0), PUBLISHERS)
        found = await callers.measured()
        kept = await kept_of(kitchen)
    said(found, errors=abs(kept - callers.done))


async def kept_of(kitchen: Harness) -> int:
    import sqlite3

    store = kitchen.serving.system.store
    assert store is not None
    connection = sqlite3.connect(store.url.removeprefix("sqlite:///"))
    count: int = connection.execute("SELECT count(*) FROM toque_event").fetchone()[0]
    connection.close()
    return count


PROGRAMS = {
    "latency": latency,
    "latency_polling": latency_polling,
    "publisher": publisher,
    "publish_sqlite": publish_sqlite,
}

if __name__ == "__main__":
    uvloop.run(PROGRAMS[sys.argv[1]]())
