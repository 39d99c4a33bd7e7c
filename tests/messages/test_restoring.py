"""A database that a backup is restored into while the app goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import msgspec
import pytest
from bells import Rung, bells, heard, metadata, rows_of, silent, store_of, until

from receiver import receiving
from toque import Jobs, Steps, Webhooks, public
from toque.contract.schedule import Missed
from toque.messages.jobs import schedules
from toque.messages.tables import RESTORED
from toque.settings import Database, HttpClient, Secret, Settings
from toque.store.database import transaction_of
from toque.store.moving.backup import backup, restore
from toque.store.prepared import Prepared
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


YESTERDAY = {
    "postgresql": "INSERT INTO toque.job_schedule VALUES ('bells.chime', 'every 3600 s', "
    "date_trunc('hour', clock_timestamp()) - interval '1 day')",
    "sqlite": "INSERT INTO toque_job_schedule VALUES ('bells.chime', 'every 3600 s', "
    "(CAST(strftime('%s', 'now') AS INTEGER) / 3600 - 24) * 3600)",
}


@pytest.mark.parametrize(("missed", "made_up"), [("last", 1), ("all", 25)])
async def test_the_moments_that_a_backup_has_not_seen_are_made_up_for_as_the_schedule_says(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missed: Missed, made_up: int
) -> None:
    """Whoever kept the time found out at the next moment that it knew of: with a daily schedule, a day later."""
    monkeypatch.setattr(schedules, "PAUSE_MAX_S", 0.1)
    app, file, chimes = bells(), tmp_path / "kept.zip", list[int]()

    @app.every("1h", missed=missed)
    async def chime() -> None:
        chimes.append(1)

    async with running(bells(), database_url=database_url) as harness:
        store = store_of(harness)
        statement = Prepared(YESTERDAY[store.dialect_name], is_write=True, is_system=True)
        await store.command(lambda database: transaction_of(database).execute(statement, ()))
    await backup(database_url, file, app="bells", app_version="1")

    async with running(app, database_url=database_url):
        await until(lambda: len(chimes) >= made_up)
        await asyncio.to_thread(run_apart, database_url, file)
        await until(lambda: len(chimes) >= 2 * made_up)

    assert 2 * made_up <= len(chimes) <= 2 * made_up + 2


def run_apart(url: str, file: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=restore_now, args=(url, file))
    process.start()
    process.join()
    assert process.exitcode == 0


def restore_now(url: str, file: Path) -> None:
    asyncio.run(restore(url, file, metadata, file.parent, replace=True, restored=RESTORED))


async def _has_heard(harness: Harness, *numbers: int) -> bool:
    return set(numbers) <= set(await heard(store_of(harness)))
