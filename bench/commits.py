"""`python -m bench.commits`: SQLite writes of 64 callers at once, each on the disk before its caller hears of it.

The store commits those that wait together (`group`); beside it, one transaction and one commit for each caller, in a
thread with the standard library's driver (`alone`). Both on the loop that serves an app, uvloop, with
`synchronous = FULL`, and with the garbage collector set as `toque run` sets it: a look at all that was imported takes
some 40 ms. They take turns; rates are medians.
The stall is the longest time for which the event loop did not come round, beyond the millisecond that it was asked to
wait; and the same without the time for which its thread was ready to run and other programs had the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, process_time
from typing import Any

import uvloop
from sqlalchemy import MetaData, bindparam, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.machine import description
from toque.cli.garbage import spare
from toque.store import open_store
from toque.store.models import NAMES, Conventions
from toque.store.schema import create_missing

AT_ONCE = 64
TICK_S = 0.001


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Line(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


LINE = insert(Line).values(text=bindparam("text"))
PLAIN = "INSERT INTO line (text) VALUES (?)"
Write = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Turn:
    per_s: float
    cpu_us: float
    stall_ms: float
    own_stall_ms: float


def main() -> int:
    made = argparse.ArgumentParser("python -m bench.commits", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    made.add_argument("--seconds", type=float, default=2.0, help="length of a turn (default 2)")
    made.add_argument("--folder", type=Path, default=Path("build"), help="on the disk to measure (default build)")
    options = made.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="commits-", dir=options.folder) as folder:
        turns = uvloop.run(measure(Path(folder), options.rounds, options.seconds))
    rates = {name: median(turn.per_s for turn in each) for name, each in turns.items()}
    print(f"{description()}. Load average {os.getloadavg()[0]:.1f}.")
    for name, each in turns.items():
        stall_ms = median(turn.stall_ms for turn in each)
        own_ms = median(turn.own_stall_ms for turn in each)
        cpu_us = median(turn.cpu_us for turn in each)
        print(
            f"{name:6} {rates[name]:9,.0f} writes/s, {cpu_us:4.0f} us of CPU each; longest stall of the loop "
            f"{stall_ms:6.1f} ms, without other programs {own_ms:5.1f} ms (medians of turns)"
        )
    print(f"group commit: {rates['group'] / rates['alone']:.1f} x")
    return 0


async def measure(folder: Path, rounds: int, seconds: float) -> dict[str, list[Turn]]:
    files = {name: folder / f"{name}.db" for name in ("group", "alone")}
    for file in files.values():
        await create_missing(f"sqlite:///{file}", Base.metadata)
    store = open_store(f"sqlite:///{files['group']}", waiting_max=2 * AT_ONCE)
    await store.start()
    connection = _connection(files["alone"])
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()
        writes: dict[str, Write] = {
            "group": lambda: store.command(lambda db: db.execute(LINE, {"text": "a line"})),
            "alone": lambda: loop.run_in_executor(thread, _write, connection),
        }
        turns: dict[str, list[Turn]] = {name: [] for name in writes}
        spare()
        for number in range(rounds + 1):
            for name, write in writes.items():
                turn = await take_turn(write, seconds)
                if number:  # the first is for warming up
                    turns[name].append(turn)
    connection.close()
    await store.stop()
    return turns


async def take_turn(write: Write, seconds: float) -> Turn:
    """64 callers, each of which writes again as soon as it has been answered."""
    done, end = 0, monotonic() + seconds

    async def caller() -> None:
        nonlocal done
        while monotonic() < end:
            await write()
            done += 1

    began, cpu = monotonic(), process_time()
    stalls = asyncio.ensure_future(_longest_stalls_s(end))
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    took_s, cpu_s = monotonic() - began, process_time() - cpu
    stall_s, own_s = await stalls
    return Turn(done / took_s, cpu_s / done * 1e6, stall_s * 1e3, own_s * 1e3)


async def _longest_stalls_s(end: float) -> tuple[float, float]:
    longest, longest_own = 0.0, 0.0
    last, waited = monotonic(), _waited_s()
    while last < end:
        await asyncio.sleep(TICK_S)
        now, waited_now = monotonic(), _waited_s()
        stall = now - last - TICK_S
        longest, longest_own = max(longest, stall), max(longest_own, stall - (waited_now - waited))
        last, waited = now, waited_now
    return longest, longest_own


def _waited_s() -> float:
    """For how long this thread has been ready to run and had no processor; 0.0 where the system does not say."""
    try:
        # Nanoseconds on a processor, nanoseconds waiting for one (Documentation/scheduler/sched-stats.rst).
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _connection(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _write(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(PLAIN, ("a line",))
    connection.execute("COMMIT")


if __name__ == "__main__":
    sys.exit(main())
