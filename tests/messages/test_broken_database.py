"""What goes on by itself outlives a database that is broken: it says so, waits, and goes on when it is mended."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bells import bells, heard, silent, store_of, until

from toque.log import tail as tailing
from toque.log.tail import Tail
from toque.messages import rotation
from toque.messages.dialects import both
from toque.messages.tables import lay_out
from toque.store import Store
from toque.store.own import execute
from toque.testing import running


async def rename(store: Store, table: str, name: str) -> None:
    await execute(store, both(f"ALTER TABLE toque.{table} RENAME TO {name}", True)[store.dialect_name])


def named(store: Store, table: str) -> str:
    return table if store.dialect_name == "postgresql" else f"toque_{table}"


async def test_consumers_are_taken_up_again(database_url: str, caplog: Any) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        store = store_of(harness)
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        await rename(store, "consumer", named(store, "lost"))
        await harness.call("bells.ring", numbers=[2])
        await until(lambda: caplog.text.count("consumers cannot be looked for; trying again") >= 2)

        await rename(store, "lost", named(store, "consumer"))

        async def is_heard() -> bool:
            return await heard(store) == [1, 2]

        await until(is_heard)


async def test_a_start_waits_for_its_turn_to_write(tmp_path: Path) -> None:
    """Five seconds were too few beside an app that writes all the time, and every command in the shell begins so."""
    url = f"sqlite:///{tmp_path / 'busy.db'}"
    await lay_out(url)
    with closing(sqlite3.connect(tmp_path / "busy.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(6, other.execute, "COMMIT")

        assert await lay_out(url) == []


async def test_old_events_are_looked_for_again(database_url: str, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "AGAIN_S", 0.01)
    monkeypatch.setattr(rotation, "LOOK_S", 0.01)
    async with running(bells(silent), database_url=database_url) as harness:
        store = store_of(harness)
        await rename(store, "relay", named(store, "lost"))
        await until(lambda: caplog.text.count("old events are not forgotten yet") >= 2)
        await rename(store, "lost", named(store, "relay"))
        caplog.clear()

        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        assert await heard(store) == [1]


async def test_a_tail_outlives_what_nobody_expected(
    database_url: str, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "AGAIN_MAX_S", 0.01)
    async with running(bells(silent), database_url=database_url) as harness:
        tail: Tail = harness.serving.system.messages.tail  # type: ignore[union-attr]

        async def fail() -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(tail._wire, "look", fail)
        await until(lambda: caplog.text.count("the log cannot be followed; trying again") >= 2)
        monkeypatch.undo()
        looks = tail.looks
        await until(lambda: tail.looks > looks)

        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        assert await heard(store_of(harness)) == [1]
