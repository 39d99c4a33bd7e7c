"""Who is told to stop begins no job any more, also while its calls still end; another process does."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from job_looks import is_empty, rows, until

from toque import App, Jobs, public
from toque.settings import Database, Messages, Secret, Settings
from toque.store import Store
from toque.testing import Harness, running


def counter() -> tuple[App, list[str], asyncio.Event]:
    app, done, gate = App("counter"), list[str](), asyncio.Event()

    @app.job()
    async def note(text: str) -> None:
        done.append(text)

    @app.job()
    async def wait(text: str) -> None:
        done.append(f"{text} began")
        await gate.wait()
        done.append(f"{text} ended")

    @app.command(allow=public)
    async def ask(text: str, jobs: Jobs, waits: bool = False) -> None:
        jobs.enqueue(wait if waits else note, text)

    return app, done, gate


async def drained(harness: Harness) -> None:
    harness.serving.begin_stopping()
    assert harness.serving._draining is not None
    await harness.serving._draining


async def test_nothing_begins_once_the_process_was_told_to_stop(database_url: str, other: Store) -> None:
    app, done, gate = counter()
    async with running(app, database_url=database_url) as harness:
        await harness.call("counter.ask", text="first", waits=True)
        await until(lambda: done)
        await drained(harness)

        # Its calls are answered as ever, and what they ask for is written down.
        await harness.call("counter.ask", text="late")
        tail = harness.serving.system.messages.tail  # type: ignore[union-attr]
        looks = tail.looks
        await until(lambda: tail.looks > looks + 2)
        assert await rows(other, "SELECT attempt FROM toque.job WHERE state = 0") == [(0,)]
        assert done == ["first began"]

        # What runs is let end.
        gate.set()
        await until(lambda: done == ["first began", "first ended"])
    async with running(app, database_url=database_url):
        await until(lambda: done[2:] == ["late"])
        await until(lambda: is_empty(other))


async def test_others_look_for_the_dead_meanwhile(database_url: str) -> None:
    app, done, gate = counter()
    async with running(app, database_url=database_url) as harness:
        tail = harness.serving.system.messages.tail  # type: ignore[union-attr]
        await harness.call("counter.ask", text="first", waits=True)
        await until(lambda: done)
        # As it holds when another worker's jobs are seen.
        assert await tail.claim("jobs rescue")

        await drained(harness)

        assert not tail.holds("jobs rescue")
        gate.set()


async def test_a_process_ends_though_what_became_of_its_jobs_cannot_be_written(tmp_path: Path) -> None:
    """A worker whose database was away when it was told to stop went on for good, or ended with a traceback."""
    app, done, gate = counter()
    file = tmp_path / "counter.db"
    settings = Settings(database=Database(url=Secret(f"sqlite:///{file}")), messages=Messages(drain_s=0.1))
    async with asyncio.timeout(60):
        with closing(sqlite3.connect(file, isolation_level=None)) as writer:
            async with running(app, settings=settings) as harness:
                await harness.call("counter.ask", text="first", waits=True)
                await until(lambda: done)
                writer.execute("BEGIN IMMEDIATE")
                gate.set()
                await until(lambda: len(done) == 2)
            writer.execute("ROLLBACK")

    # Another process begins it again.
    async with running(app, settings=settings):
        await until(lambda: len(done) == 4)
