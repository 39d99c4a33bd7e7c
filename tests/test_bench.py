"""The benchmark runs: the load generator compiles, and a contender is started, proved, measured and ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def measured(folder: Path, work: str, *asked: str, seconds: str = "0.3") -> list[Any]:
    """The rows of the table that one short round of *work* writes."""
    table = folder / "bench.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "--work", work, *asked),
            *("--rounds", "1", "--seconds", seconds, "--json", str(table)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    rows: list[Any] = json.loads(table.read_text())
    return rows


@pytest.fixture
def compiler() -> None:
    if shutil.which("cc") is None:
        skip = pytest.fail if os.environ.get("CI") else pytest.skip
        skip("no C compiler (cc) for bench/load.c")


def test_a_contender_that_measures_itself_has_a_row_too(tmp_path: Path) -> None:
    rows = measured(tmp_path, "publish_sqlite")

    assert [(row["work"], row["contender"], row["errors"]) for row in rows] == [
        ("publish_sqlite", "toque", 0),
        ("publish_sqlite", "alone", 0),
    ]
    assert all(row["requests_per_s"] > 0 and row["p50_ms"] > 0 for row in rows)


@pytest.mark.usefixtures("compiler")
def test_the_benchmark_measures_a_contender_and_writes_its_table(tmp_path: Path) -> None:
    [row] = measured(tmp_path, "hello", "--contender", "raw")

    assert (row["work"], row["contender"], row["errors"]) == ("hello", "raw", 0)
    assert row["requests_per_s"] > 0
    assert row["cpu_us_per_request"] > 0
    assert row["p99_ms"] > 0


@pytest.mark.soak
def test_a_long_reader_slows_nobody_down_much() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.messages.horizon", "--minutes", "10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("compiler")
def test_what_is_asked_of_one_contender_alone_is_answered_as_its_work_says(tmp_path: Path) -> None:
    [row] = measured(tmp_path, "not_modified", "--contender", "toque")

    assert (row["work"], row["contender"], row["errors"]) == ("not_modified", "toque", 0)
    assert row["requests_per_s"] > 0


@pytest.mark.usefixtures("compiler")
@pytest.mark.soak  # `tests/cache/test_live.py` has it with fewer who follow.
def test_of_ten_thousand_followed_rows_only_the_changed_one_is_asked_for(tmp_path: Path) -> None:
    [row] = measured(tmp_path, "live_many", "--contender", "toque-sqlite")

    assert (row["work"], row["contender"], row["errors"]) == ("live_many", "toque-sqlite", 0)
    assert row["queries"] == 1
    assert row["p99_ms"] > 0


def test_strict_answers_of_three_processes_miss_nothing(tmp_path: Path) -> None:
    [row] = measured(tmp_path, "stale_strict", "--contender", "toque", seconds="1")

    assert (row["work"], row["contender"], row["errors"]) == ("stale_strict", "toque", 0)
    assert row["stale_reads"] == 0
