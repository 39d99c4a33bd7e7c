"""Nothing is lost, nothing is done twice, and each table is served in its order, whatever befalls the kitchen."""

from __future__ import annotations

import pytest

from toque.testing.faults import JOBS, MESSAGES, AtStep, Schedule, run, run_schedules
from toque.testing.faults.campaign import AT_ONCE
from toque.testing.postgres import PrivatePostgres

TARGET = "kitchen:scenario"

# Without the one at which two deaths in a row are what an event looks like that kills its process: it is put aside.
STEPS = [step for step in (*MESSAGES, *JOBS) if step.name != "before a parked event is done"]

# One campaign at a time: each has processes enough of its own.
pytestmark = pytest.mark.xdist_group("faults")


def test_orders_on_sqlite() -> None:
    report = run(TARGET, range(30))

    assert not report.failed, str(report)
    assert report.counts["answered"] > 30 * 10
    assert report.counts["hurt"] > 30 * 2


def test_orders_on_postgresql(server: PrivatePostgres) -> None:
    report = run(TARGET, range(6), database="postgresql", server=server)

    assert not report.failed, str(report)
    assert report.counts["answered"] > 6 * 10
    assert report.counts["hurt"] > 6 * 2


# On SQLite the till goes through the steps of the store, the counter through those of a wait, and these come in the soak.
@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.soak), "postgresql"])
def test_every_step_is_reached(database: str, server: PrivatePostgres) -> None:
    """Each node is killed there in its first life, and freezes there in its second."""
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
        for seed, step in enumerate((*MESSAGES, *JOBS))
        if step in STEPS
    ]
    # Most of its time each waits until whoever died is given up (`rescue.GRACE_S`), so there are twice as many as else.
    report = run_schedules(TARGET, schedules, server=server, at_once=2 * AT_ONCE)

    assert not report.failed, str(report)
    # Who died with no job at hand leaves none to give back.
    expected = {f"kill at '{step.name}'" for step in STEPS if "given back" not in step.name}
    assert expected - report.met.keys() == set()


@pytest.mark.soak
@pytest.mark.parametrize("first", range(100_000, 105_000, 500))
def test_orders_for_long(first: int, server: PrivatePostgres) -> None:
    """5 000 schedules, four in five of them on SQLite."""
    on_sqlite = run(TARGET, range(first, first + 400))
    on_postgresql = run(TARGET, range(first + 400, first + 500), database="postgresql", server=server)

    assert not on_sqlite.failed, str(on_sqlite)
    assert not on_postgresql.failed, str(on_postgresql)
