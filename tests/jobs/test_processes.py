"""Processes come and go: what they had begun is begun again, once, and nobody who lives loses anything."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import job_process
import pytest
from job_looks import act, is_empty, rows, until

from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import Harness, running

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]

SILENT = Settings(messages=Messages(work=False))


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    """Starts a process that works on the test's jobs."""
    started: list[asyncio.subprocess.Process] = []
    script = Path(job_process.__file__)

    async def begin() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, script, database_url, stdout=asyncio.subprocess.PIPE, env=os.environ
        )
        started.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
        # To the end of its output too, which a child of it may have had open.
        await process.communicate()
        # Its transport is closed by the loop in the next rounds.
        await asyncio.sleep(0)


@pytest.fixture
async def asking(database_url: str, other: Store) -> AsyncIterator[Harness]:
    """The app, enqueueing only."""
    await act(other, "CREATE TABLE done (name text, attempt integer)")
    async with running(job_process.app, settings=SILENT, database_url=database_url) as harness:
        yield harness


async def ask(harness: Harness, job: str, *inputs: object, times: int = 1, key: str = "") -> list[str]:
    found: list[str] = await harness.call("plant.ask", job=job, inputs=list(inputs), times=times, key=key)
    return found


async def test_many_processes_do_each_job_once(asking: Harness, start: Start, other: Store) -> None:
    for number in range(60):
        await ask(asking, "write", f"n{number}", times=5)
    await start()
    await start()

    await until(lambda: is_empty(other))

    done = await rows(other, "SELECT name, count(*), max(attempt) FROM done GROUP BY name")
    assert sorted(done) == sorted((f"n{number}", 5, 1) for number in range(60))


async def test_a_killed_process_loses_nothing_and_does_nothing_twice(
    asking: Harness, start: Start, other: Store
) -> None:
    await ask(asking, "write_slowly", "slow", 0.5, times=3)
    await ask(asking, "wait", 0.5, times=3)
    victim = await start()
    await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))
    victim.kill()
    await victim.wait()
    assert await rows(other, "SELECT name FROM done") == []
    await start()

    await until(lambda: is_empty(other), 40)

    assert await rows(other, "SELECT name, count(*) FROM done GROUP BY name") == [("slow", 3)]
    assert await rows(other, "SELECT id FROM toque.job_dead") == []


async def test_what_a_process_had_begun_is_begun_again_though_a_child_that_it_forked_lives(
    asking: Harness, start: Start, other: Store
) -> None:
    """The child had its parent's session open, and its locks, and so it was the parent that seemed to live: on SQLite
    for as long as the child did, on PostgreSQL for half a minute, and a transaction that it was in for ever."""
    await ask(asking, "fork", "half", 40.0)
    victim = await start()
    await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))
    (child,) = await until(lambda: children(victim.pid))
    victim.kill()
    await start()

    try:
        await until(lambda: is_empty(other), 20)
    finally:
        os.kill(child, signal.SIGKILL)

    assert await rows(other, "SELECT name, attempt FROM done") == [("half", 2)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_job_that_ends_its_process_is_put_aside_and_the_others_are_not(
    asking: Harness, start: Start, other: Store
) -> None:
    await ask(asking, "wait", 0.3, times=6)
    await ask(asking, "die")
    deaths = 0
    for _ in range(5):
        process = await start()
        dying = asyncio.ensure_future(process.wait())
        seeing = asyncio.ensure_future(until(lambda: is_empty(other), 60))
        await asyncio.wait((dying, seeing), return_when=asyncio.FIRST_COMPLETED)
        if seeing.done():
            break
        seeing.cancel()
        deaths += 1

    assert deaths == 3
    assert await is_empty(other)
    dead = await rows(other, "SELECT name, crashes, reason FROM toque.job_dead")
    assert dead == [("plant.die", 3, "3 processes ended while it ran")]


async def test_what_a_killed_process_had_begun_is_begun_again_together(
    asking: Harness, start: Start, other: Store
) -> None:
    """One end is chance. They had begun one after the other, each when the one before it had ended."""
    await ask(asking, "wait", 60, times=8)
    victim = await start()
    await until(lambda: _run(other, 8))
    victim.kill()
    await victim.wait()
    await start()

    await until(lambda: _run(other, 8, attempt=2))


async def _run(store: Store, count: int, attempt: int = 1) -> bool:
    found = await rows(store, "SELECT state, attempt, count(*) FROM toque.job GROUP BY 1, 2")
    return found == [(1, attempt, count)]


async def test_jobs_are_not_put_aside_for_an_event_that_ends_their_process(
    asking: Harness, start: Start, other: Store
) -> None:
    """They had been there each time that it ended, as long ones are, and the third time all of them were put aside."""
    process = await start()
    await ask(asking, "write_late", "calm", 4.0, times=2)
    await until(lambda: _run(other, 2))
    await asking.call("plant.blast")
    deaths = 0
    while not await rows(other, "SELECT event FROM toque.parked WHERE state = 'dead'"):
        if process.returncode is not None:
            deaths += 1
            process = await start()
        await asyncio.sleep(0.02)

    await until(lambda: is_empty(other), 30)

    assert deaths == 4
    assert await rows(other, "SELECT name, count(*) FROM done GROUP BY name") == [("calm", 2)]
    assert await rows(other, "SELECT id FROM toque.job_dead") == []


async def test_a_process_that_is_told_to_stop_burns_no_attempt(asking: Harness, start: Start, other: Store) -> None:
    await ask(asking, "wait", 60, times=15)
    process = await start()
    await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))

    process.send_signal(signal.SIGTERM)
    await process.wait()

    assert await rows(other, "SELECT state, attempt, crashes, count(*) FROM toque.job GROUP BY 1, 2, 3") == [
        (0, 0, 0, 15)
    ]


async def test_what_a_process_does_that_was_taken_for_dead_is_not_kept(
    asking: Harness, start: Start, other: Store
) -> None:
    """It is given back while it runs, as if its process had frozen for long: the first start commits nothing."""
    await ask(asking, "write_late", "once", 1.0)
    await start()
    await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))
    await act(other, "UPDATE toque.job SET state = 0, worker = NULL")

    await until(lambda: is_empty(other))

    assert await rows(other, "SELECT name, attempt FROM done") == [("once", 2)]


async def test_a_job_that_swallows_its_stop_commits_nothing(asking: Harness, start: Start, other: Store) -> None:
    await ask(asking, "swallow", "never")
    await start()

    await until(lambda: rows(other, "SELECT id FROM toque.job_dead"))

    assert await rows(other, "SELECT name FROM done") == []


async def test_jobs_of_one_key_run_in_order_one_after_the_other(asking: Harness, start: Start, other: Store) -> None:
    for number in range(20):
        await ask(asking, "write_slowly", f"{number:02}", 0.02, key="one")
        await ask(asking, "write", f"x{number:02}")
    await start()
    await start()

    await until(lambda: is_empty(other))

    order = "SELECT name FROM done WHERE name NOT LIKE 'x%' "
    order += "ORDER BY ctid" if other.dialect_name == "postgresql" else "ORDER BY rowid"
    assert [row[0] for row in await rows(other, order)] == [f"{number:02}" for number in range(20)]


async def test_a_dead_process_gives_its_share_of_a_limit_back(asking: Harness, start: Start, other: Store) -> None:
    process = await start()
    await ask(asking, "hold", "first", 60.0)
    await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))
    await ask(asking, "hold", "second", 0.0)
    process.kill()
    await process.wait()
    await start()
    await until(lambda: is_empty(other), give_up_s=35)

    assert sorted(await rows(other, "SELECT name, attempt FROM done")) == [("first", 2), ("second", 1)]
