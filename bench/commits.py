"""`python -m bench.commits`: SQLite writes of 64 callers at once, each on the disk before its caller hears of it.

The store commits those that wait together (`group`); beside it, one transaction and one commit for each caller, in a
thread with the standard library's driver (`alone`). Both on the loop that serves an app, uvloop, and with
`synchronous = FULL`. They take turns; rates are medians.
The stall is the longest time for which the event loop did not come round, beyond the millisecond that it was asked to
wait.
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
from time import monotonic
from typing import Any

import uvloop
from sqlalchemy import MetaData, bindparam, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.machine import description
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
    stall_ms: float


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
        print(f"{name:6} {rates[name]:9,.0f} writes/s   longest stall of the loop {stall_ms:6.1f} ms (median of turns)")
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

    began = monotonic()
    stall = asyncio.ensure_future(_longest_stall_s(end))
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return Turn(done / (monotonic() - began), await stall * 1000)


async def _longest_stall_s(end: float) -> float:
    longest, last = 0.0, monotonic()
    while last < end:
        await asyncio.sleep(TICK_S)
        now = monotonic()
        longest, last = max(longest, now - last - TICK_S), now
    return longest


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
