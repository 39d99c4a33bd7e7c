"""Claims on SQLite are locked files: one holder at a time, and none is left behind."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from toque.log import sqlite_wire
from toque.log.sqlite_wire import SqliteWire


@pytest.fixture
async def wires(tmp_path: Path) -> AsyncIterator[list[SqliteWire]]:
    """Those of three processes."""
    wires = [SqliteWire(f"sqlite:///{tmp_path / 'app.db'}", (), lambda: None) for _ in range(3)]
    yield wires
    for wire in wires:
        await wire.close()


async def test_a_claim_that_ended_leaves_no_file(wires: list[SqliteWire], tmp_path: Path) -> None:
    one, other, _ = wires
    for holder in (one, other, one):
        assert await holder.claim("jobs worker 1")
        await holder.release("jobs worker 1")

    assert list((tmp_path / "app.db-claims").iterdir()) == []


async def test_a_file_that_was_removed_before_it_was_locked_is_no_claim(
    wires: list[SqliteWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, slow, third = wires
    await one.claim("rotation")

    def meanwhile() -> None:
        at_once(one.release("rotation"))
        assert at_once(third.claim("rotation"))

    monkeypatch.setattr(sqlite_wire, "fcntl", Interrupted(meanwhile))

    assert not await slow.claim("rotation")


async def test_a_claim_removes_no_file_of_another(wires: list[SqliteWire], tmp_path: Path) -> None:
    one, other, third = wires
    assert await one.claim("rotation")
    (tmp_path / "app.db-claims" / "rotation").unlink()  # somebody tidied up
    assert await other.claim("rotation")

    await one.release("rotation")

    assert not await third.claim("rotation")


class Interrupted:
    """The module fcntl, before whose first lock something happens."""

    LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = [happens]

    def flock(self, file: Any, how: int) -> None:
        if self._happens:
            self._happens.pop()()
        fcntl.flock(file, how)


def at_once(coroutine: Any) -> Any:
    """What *coroutine*, which waits for nothing, returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")
