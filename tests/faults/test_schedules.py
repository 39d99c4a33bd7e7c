"""A seed is a schedule, today and tomorrow; and what a schedule says of a clock is what its process sees."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toque.testing.faults import STORE, Clock, Schedule, draw


def schedule(seed: int, database: str = "sqlite") -> Schedule:
    return draw(seed, database=database, steps=STORE, calls=20)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_seed_is_one_schedule_in_every_process(database: str) -> None:
    program = (
        "from toque.testing.faults import STORE, draw\n"
        f"for seed in range(20): print(draw(seed, database={database!r}, steps=STORE, calls=20))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "".join(f"{schedule(seed, database)}\n" for seed in range(20))


def test_seeds_differ() -> None:
    assert len({str(schedule(seed)) for seed in range(100)}) == 100


def test_a_schedule_asks_only_for_what_its_database_has() -> None:
    steps = {fault.step for seed in range(300) for fault in schedule(seed).at_steps}
    acts = {blow.act for seed in range(300) for blow in schedule(seed).from_outside}

    assert steps == {step.name for step in STORE if "sqlite" in step.databases}
    assert acts == {"kill", "freeze", "stop", "hold the file"}


def test_the_last_life_of_a_node_is_left_alone() -> None:
    assert max(fault.life for seed in range(300) for fault in schedule(seed).at_steps) <= 3


def test_a_clock_lies_as_it_should() -> None:
    clock = Clock(jump_s=-3600, after_s=10, rate=2)
    second = 1_000_000_000

    assert clock.wall(5 * second, 0) == 10 * second
    assert clock.wall(10 * second, 0) == 20 * second - 3600 * second
    assert clock.monotonic(10 * second, 0) == 20 * second


def test_a_process_sees_its_clock() -> None:
    program = """
import time
from time import time as now, monotonic
import asyncio
from toque.testing.faults.clock import Clock, set_clock

before, ticks = now(), monotonic()
set_clock(Clock(jump_s=-86_400, rate=1000))
assert -86_400 <= now() - before < -86_000, now() - before
assert -86_400 <= time.time_ns() / 1e9 - before < -86_000
assert 0 <= monotonic() - ticks, "the monotonic clock never jumps"

async def wait():
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(1)
    return loop.time() - began

assert asyncio.run(wait()) >= 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
