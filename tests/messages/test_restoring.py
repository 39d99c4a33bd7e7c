"""A database that a backup is restored into while the app goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import msgspec
from bells import Rung, bells, heard, metadata, rows_of, silent, store_of, until

from receiver import receiving
from toque import Jobs, Steps, Webhooks, public
from toque.messages.tables import RESTORED
from toque.settings import Database, HttpClient, Secret, Settings
from toque.store.moving.backup import backup, restore
from toque.testing import Harness, running


async def test_what_comes_after_a_restore_is_handled_by_who_had_come_further(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
        await harness.settle()
        await harness.call("bells.ring", numbers=[4], bell="door")
        await backup(database_url, file, app="bells", app_version="1")
        await harness.call("bells.ring", numbers=list(range(5, 30)), bell="door")
        await harness.settle()

        # Another process, as at a command line.
        await asyncio.to_thread(run_apart, database_url, file)
        await harness.call("bells.ring", numbers=[30, 31], bell="door")
        await until(lambda: _has_heard(harness, 4, 31))

        assert sorted(await heard(store_of(harness))) == [1, 2, 3, 4, 30, 31]


async def test_a_job_has_what_it_waits_for_though_it_comes_after_a_restore(database_url: str, tmp_path: Path) -> None:
    app, file, came = bells(), tmp_path / "kept.zip", list[int]()

    @app.job()
    async def listen(steps: Steps) -> None:
        rung = await steps.wait("the bell", Rung, key="door")
        came.append(rung.number)

    @app.command(allow=public)
    async def sit(jobs: Jobs) -> None:
        jobs.enqueue(listen)

    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.sit")
        await until(lambda: rows_of(store_of(harness), "SELECT 1 FROM toque.job_step WHERE awaits IS NOT NULL"))
        await backup(database_url, file, app="bells", app_version="1")
        # On SQLite, what comes after the restore has positions that were given to these.
        await harness.call("bells.ring", numbers=list(range(1, 30)), bell="window")
        await harness.call("bells.ring", numbers=[30], bell="door")
        await until(lambda: came == [30])

        await asyncio.to_thread(run_apart, database_url, file)
        await harness.call("bells.ring", numbers=[31], bell="door")
        await until(lambda: came == [30, 31])


async def test_webhooks_carry_what_comes_after_a_restore(database_url: str, tmp_path: Path) -> None:
    app, file = bells(), tmp_path / "kept.zip"
    app.sends(Rung)

    @app.command(allow=public)
    async def subscribe(url: str, webhooks: Webhooks) -> None:
        await webhooks.add(url, [Rung])

    settings = Settings(database=Database(url=Secret(database_url)), http_client=HttpClient(allow=("127.0.0.0/8:*",)))
    async with receiving() as hook, running(app, settings=settings) as harness:
        await harness.call("bells.subscribe", url=hook.url())
        await backup(database_url, file, app="bells", app_version="1")
        await harness.call("bells.ring", numbers=list(range(1, 30)))
        await until(lambda: len(hook.requests) == 29)

        await asyncio.to_thread(run_apart, database_url, file)
        await harness.call("bells.ring", numbers=[30])
        await until(lambda: len(hook.requests) == 30)

        assert msgspec.json.decode(hook.requests[-1].body)["data"]["number"] == 30


def run_apart(url: str, file: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=restore_now, args=(url, file))
    process.start()
    process.join()
    assert process.exitcode == 0


def restore_now(url: str, file: Path) -> None:
    asyncio.run(restore(url, file, metadata, file.parent, replace=True, restored=RESTORED))


async def _has_heard(harness: Harness, *numbers: int) -> bool:
    return set(numbers) <= set(await heard(store_of(harness)))
