"""A database that a backup is restored into while the app goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

from bells import bells, heard, metadata, silent, store_of, until

from toque.messages.tables import RESTORED
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


def run_apart(url: str, file: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=restore_now, args=(url, file))
    process.start()
    process.join()
    assert process.exitcode == 0


def restore_now(url: str, file: Path) -> None:
    asyncio.run(restore(url, file, metadata, file.parent, replace=True, restored=RESTORED))


async def _has_heard(harness: Harness, *numbers: int) -> bool:
    return set(numbers) <= set(await heard(store_of(harness)))
