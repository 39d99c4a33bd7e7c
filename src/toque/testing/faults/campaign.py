"""Many runs of one scenario, a few at once, and what was found in them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random

from msgspec import Struct

from toque.testing.faults.nursery import Nursery
from toque.testing.faults.scenario import Scenario, load
from toque.testing.faults.schedule import Schedule, draw
from toque.testing.faults.site import Ground
from toque.testing.faults.steps import find
from toque.testing.faults.trial import Outcome, Trial
from toque.testing.postgres import PrivatePostgres

__all__ = ["Report", "run", "run_schedules"]

AT_ONCE = 4
"""Runs that go on at once: half of the time each of them waits for a process that is frozen or being born."""


class Report(Struct, frozen=True):
    """What came of many runs."""

    target: str
    outcomes: Sequence[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The runs in which a promise was broken."""
        return [outcome for outcome in self.outcomes if outcome.findings]

    @property
    def counts(self) -> Counter[str]:
        """How often everything happened, in all runs together."""
        return sum((outcome.counts for outcome in self.outcomes), Counter())

    @property
    def met(self) -> Counter[str]:
        """How often each kind of fault came about."""
        return Counter(fault.partition(": ")[2] for outcome in self.outcomes for fault in outcome.met)

    def lines(self) -> list[str]:
        """The first finding of each run that has one."""
        return [f"seed {outcome.schedule.seed}: {outcome.findings[0]}" for outcome in self.failed]

    def __str__(self) -> str:
        counts = self.counts
        head = (
            f"{len(self.outcomes)} schedules of {self.target}: {counts['answered']} calls answered, "
            f"{counts['born']} lives, {counts['hurt']} faults met, {len(self.failed)} schedules with findings"
        )
        return "\n\n".join([head, *(_words(self.target, outcome) for outcome in self.failed)])


def _words(target: str, outcome: Outcome) -> str:
    schedule = outcome.schedule
    again = f"python -m toque.testing.faults {target} --seed {schedule.seed} --database {schedule.database}"
    found = "\n".join(f"  {finding}" for finding in outcome.findings)
    met = "\n".join(f"  {fault}" for fault in outcome.met)
    return f"{schedule}\nmet:\n{met}\nfound:\n{found}\nhistory and logs: {outcome.folder}\nagain: {again}"


def run(
    target: str,
    seeds: Iterable[int],
    *,
    database: str = "sqlite",
    server: PrivatePostgres | None = None,
    at_once: int = AT_ONCE,
) -> Report:
    """Run the scenario at *target* under the schedule of each of *seeds*.

    Args:
        target: `package.module:name` of a `Scenario`; the nodes' processes import it too.
        database: `sqlite` or `postgresql`.
        server: a PostgreSQL that runs, and is durable; without one a private one is started for these runs.
    """
    scenario = load(target)
    count = len(scenario.calls(Random(0)))  # noqa: S311 - only their number
    schedules = [
        draw(seed, database=database, steps=scenario.steps, calls=count, nodes=scenario.nodes) for seed in seeds
    ]
    return run_schedules(target, schedules, server=server, at_once=at_once)


def run_schedules(
    target: str, schedules: Sequence[Schedule], *, server: PrivatePostgres | None = None, at_once: int = AT_ONCE
) -> Report:
    """The same, for schedules that are of one database and need not come from a seed.

    Raises: LookupError where a step is not there.
    """
    scenario = load(target)
    find(scenario.steps)
    needs_server = any(schedule.database == "postgresql" for schedule in schedules)
    # Durable: a schedule may kill it.
    own = PrivatePostgres(is_durable=True) if needs_server and server is None else None
    if own is not None:
        own.start()
    nursery = Nursery(target)
    try:
        campaign = _Campaign(scenario, nursery, (own or server) if needs_server else None)
        outcomes = asyncio.run(campaign.run(schedules, at_once))
    finally:
        nursery.stop()
        if own is not None:
            own.stop()
    return Report(target, outcomes)


class _Campaign:
    def __init__(self, scenario: Scenario, nursery: Nursery, server: PrivatePostgres | None) -> None:
        self._scenario = scenario
        self._nursery = nursery
        self._ground = Ground(scenario, server)

    async def run(self, schedules: Sequence[Schedule], at_once: int) -> list[Outcome]:
        """The outcomes, in the order of *schedules*; those that would disturb others are run alone, at the end."""
        await asyncio.gather(asyncio.to_thread(self._nursery.start), self._ground.prepare())
        outcomes: dict[int, Outcome] = {}
        try:
            for disturbs, beside in ((False, at_once), (True, 1)):
                slots = asyncio.Semaphore(beside)
                async with asyncio.TaskGroup() as tasks:
                    for number, schedule in enumerate(schedules):
                        if schedule.disturbs_others is disturbs:
                            tasks.create_task(self._try(number, schedule, slots, outcomes))
        finally:
            self._ground.close()
        return [outcomes[number] for number in range(len(schedules))]

    async def _try(
        self, number: int, schedule: Schedule, slots: asyncio.Semaphore, outcomes: dict[int, Outcome]
    ) -> None:
        async with slots:
            site = await asyncio.to_thread(self._ground.site, str(number))
            await site.open(schedule.nodes)
            try:
                outcomes[number] = await Trial(self._scenario, schedule, site, self._nursery.bear).run()
            finally:
                await site.close()
            if not outcomes[number].findings:
                await asyncio.to_thread(self._ground.clear, site)
