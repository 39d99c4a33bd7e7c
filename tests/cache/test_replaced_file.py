"""SQLite's file is replaced while an app has it open: nobody is told what the old one has, nor that anything is kept."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kitchen_of_callers import make_app

from toque.contract.errors import Unavailable
from toque.testing import Harness, running


@pytest.fixture
async def kitchen(tmp_path: Path) -> AsyncIterator[Harness]:
    async with running(make_app(), database_url=f"sqlite:///{tmp_path / 'kitchen.db'}") as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await kitchen.call("kitchen.list_dishes")
        yield kitchen


def _replace(file: Path) -> None:
    other = file.with_name("other.db")
    with sqlite3.connect(file) as source, sqlite3.connect(other) as target:
        source.backup(target)
        target.execute("UPDATE dish SET name = 'pie'")
    os.replace(other, file)


async def test_no_answer_is_given_of_a_file_that_was_replaced(
    kitchen: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _replace(tmp_path / "kitchen.db")

    with pytest.raises(Unavailable, match="started again"):
        await kitchen.call("kitchen.list_dishes")
    with pytest.raises(Unavailable, match="started again"):
        await kitchen.call("kitchen.get_dish", id=1)
    assert sum("was replaced" in record.getMessage() for record in caplog.records) == 1


async def test_nothing_is_committed_to_a_file_that_was_removed(kitchen: Harness, tmp_path: Path) -> None:
    (tmp_path / "kitchen.db").unlink()

    with pytest.raises(Unavailable, match="started again"):
        await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
