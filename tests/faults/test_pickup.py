"""A wait for an event is over once, and none is slept through, whatever befalls those who wait and who wake them."""

from __future__ import annotations

import pytest

from toque.testing.faults import JOBS, WAITS, AtStep, Schedule, run, run_schedules
from toque.testing.postgres import PrivatePostgres

TARGET = "pickup:scenario"

# One campaign at a time: each has processes enough of its own.
pytestmark = pytest.mark.xdist_group("faults")


def test_waits_on_sqlite() -> None:
    report = run(TARGET, range(20))

    assert not report.failed, str(report)
    assert report.counts["answered"] > 20 * 10
    assert report.counts["hurt"] > 20


# On PostgreSQL it takes a minute, and the kitchen goes through the steps of jobs there.
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_every_step_of_a_wait_is_reached(database: str, server: PrivatePostgres) -> None:
    """Each node is killed there in its first life, and freezes there in its second."""
    steps = [*WAITS, *(step for step in JOBS if "durable" in step.name or "settled" in step.name)]
    schedules = [
        Schedule(
            seed,
            database,
            ("n0", "n1"),
            tuple(
                fault
                for node in ("n0", "n1")
                for fault in (AtStep(node, 1, step.name, 1, "kill"), AtStep(node, 2, step.name, 2, "freeze", 0.02))
            ),
        )
        for seed, step in enumerate(steps)
    ]
    report = run_schedules(TARGET, schedules, server=server)

    assert not report.failed, str(report)
    assert {f"kill at '{step.name}'" for step in steps} - report.met.keys() == set()


@pytest.mark.soak
@pytest.mark.parametrize(("database", "count"), [("sqlite", 400), ("postgresql", 100)])
def test_waits_for_long(database: str, count: int, server: PrivatePostgres) -> None:
    report = run(TARGET, range(300_000, 300_000 + count), database=database, server=server)

    assert not report.failed, str(report)
