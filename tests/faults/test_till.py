"""An acknowledged command is in the database, an unacknowledged one wholly or not at all, an idempotent one once."""

from __future__ import annotations

import pytest

from toque.testing.faults import STORE, AtStep, FromOutside, Schedule, run, run_schedules
from toque.testing.postgres import PrivatePostgres

TARGET = "till:scenario"

# One campaign at a time: each has processes enough of its own.
pytestmark = pytest.mark.xdist_group("faults")


def test_sales_on_sqlite() -> None:
    report = run(TARGET, range(60))

    assert not report.failed, str(report)
    assert report.counts["answered"] > 60 * 15
    assert report.counts["hurt"] > 60 * 2


def test_sales_on_postgresql(server: PrivatePostgres) -> None:
    report = run(TARGET, range(10), database="postgresql", server=server)

    assert not report.failed, str(report)
    assert report.counts["answered"] > 10 * 15
    assert report.counts["hurt"] > 10 * 2


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_step_is_reached(database: str, server: PrivatePostgres) -> None:
    """One process is killed there, and frozen there in its next life; the other one exits at the second time."""
    steps = [step.name for step in STORE if database in step.databases]
    schedules = [
        Schedule(
            seed,
            database,
            ("n0", "n1"),
            (
                AtStep("n0", 1, step, 1, "kill"),
                AtStep("n0", 2, step, 2, "freeze", 0.02),
                AtStep("n1", 1, step, 2, "exit"),
            ),
        )
        for seed, step in enumerate(steps)
    ]
    report = run_schedules(TARGET, schedules, server=server)

    assert not report.failed, str(report)
    assert {f"{act} at '{step}'" for step in steps for act in ("kill", "exit")} - report.met.keys() == set()


def test_a_database_that_is_killed_loses_nothing(server: PrivatePostgres) -> None:
    blows = tuple(FromOutside(after, "restart the database", "n0") for after in (3, 12))
    report = run_schedules(TARGET, [Schedule(7, "postgresql", ("n0", "n1"), from_outside=blows)], server=server)

    assert not report.failed, str(report)
    assert report.met == {"restart the database": 4}


@pytest.mark.soak
@pytest.mark.parametrize(("database", "count"), [("sqlite", 1000), ("postgresql", 200)])
def test_sales_for_long(database: str, count: int, server: PrivatePostgres) -> None:
    report = run(TARGET, range(10_000, 10_000 + count), database=database, server=server)

    assert not report.failed, str(report)
