"""Which faults come where and when: drawn from a seed, the same one each time.

A fault comes at a step of one life of a process, counted in times that the step was reached, or from outside, counted
in calls that were answered. So a schedule does not depend on how fast a machine is. What a seed cannot fix is how the
kernel and the database interleave processes in between: the same seed gives the same faults, and nearly the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

from msgspec import Struct

from toque.testing.faults.clock import Clock
from toque.testing.faults.steps import Step

__all__ = ["Act", "AtStep", "FromOutside", "Outside", "Schedule", "draw"]

Act = Literal["kill", "exit", "freeze", "lapse"]
"""What a process does to itself at a step: SIGKILL, an exit without any clean-up, or SIGSTOP for a while; after a lapse
its sessions have ended when it wakes, and others have what was its own."""

Outside = Literal[
    "kill",
    "freeze",
    "lapse",
    "stop",
    "hold the file",
    "cut",
    "cut one",
    "half-close",
    "slow",
    "hold",
    "refuse",
    "cut before COMMIT",
    "cut after COMMIT",
    "cut the answer of COMMIT",
    "end the sessions",
    "restart the database",
]
"""What is done to a process: SIGKILL, SIGSTOP for a while, an orderly stop; and to what lies between it and its
database."""

_CUTS: tuple[Outside, ...] = ("cut before COMMIT", "cut after COMMIT", "cut the answer of COMMIT")
ON_SQLITE: tuple[Outside, ...] = ("kill", "freeze", "stop", "hold the file")
ON_POSTGRESQL: tuple[Outside, ...] = (
    *("kill", "freeze", "lapse", "stop", "cut", "cut one", "cut one", "half-close", "slow", "hold", "refuse"),
    *(*_CUTS, *_CUTS, "end the sessions"),
)

_MOMENTARY = {"kill", "stop", "cut", "cut one", "half-close", "end the sessions", "restart the database", *_CUTS}

NTH_MAX = 12
"""At which reaching of a step: a short run reaches each some ten or twenty times."""


LAPSES_S = (2.5, 8.0)
"""How long a process is frozen whose sessions end: others look once a second whether they can have its consumers, and
begin its jobs again after five."""

RESTARTS = 0.03
"""How many of the faults from outside are a restart of the database: it takes seconds, and its run is alone."""


class AtStep(Struct, frozen=True):
    """A fault that a process does to itself."""

    node: str
    life: int
    step: str
    nth: int
    act: Act
    for_s: float = 0.0
    """How long it is frozen, or how long after the step it is killed: at some point of what follows."""

    def __str__(self) -> str:
        when = f"at '{self.step}', no. {self.nth}"
        if self.act in ("freeze", "lapse"):
            return f"{self.node}.{self.life} {self.act}s {when}, for {self.for_s} s"
        return f"{self.node}.{self.life} ends by {self.act} {when}" + (f", {self.for_s} s later" if self.for_s else "")


class FromOutside(Struct, frozen=True):
    """A fault that comes over a process."""

    after: int
    """How many calls were answered."""
    act: Outside
    node: str
    for_s: float = 0.0
    times: int = 1
    """How many COMMITs are cut, or which of its connections, the oldest first."""

    def __str__(self) -> str:
        how = f" for {self.for_s} s" if self.for_s else f" {self.times} times" if self.times > 1 else ""
        return f"after {self.after} answers, {self.node}: {self.act}{how}"


class Schedule(Struct, frozen=True):
    """All that is done to one run."""

    seed: int
    database: str
    nodes: tuple[str, ...]
    at_steps: tuple[AtStep, ...] = ()
    from_outside: tuple[FromOutside, ...] = ()
    clocks: dict[str, Clock] = {}

    @property
    def disturbs_others(self) -> bool:
        """Whether it harms more than its own run's part of a server."""
        return any(blow.act == "restart the database" for blow in self.from_outside)

    def __str__(self) -> str:
        clocks = (f"{node}'s clock: {clock}" for node, clock in self.clocks.items())
        faults = [*map(str, self.at_steps), *map(str, self.from_outside), *clocks]
        return "\n".join([f"seed {self.seed}, {self.database}, nodes {', '.join(self.nodes)}", *faults])


def draw(seed: int, *, database: str, steps: Sequence[Step], calls: int, nodes: int = 2) -> Schedule:
    """The schedule of *seed*.

    Args:
        calls: how many calls the run makes.
    """
    # Text as a seed: alike in every process and release of Python (random.seed, version 2).
    random = Random(f"toque faults {seed} {database}")  # noqa: S311 - has to come again
    names = tuple(f"n{number}" for number in range(nodes))
    reachable = [step.name for step in steps if database in step.databases]
    return Schedule(
        seed,
        database,
        names,
        tuple(_at_steps(random, names, reachable, database != "sqlite")),
        tuple(_from_outside(random, names, ON_SQLITE if database == "sqlite" else ON_POSTGRESQL, calls)),
        {name: _clock(random) for name in names if random.random() < 0.2},
    )


_FOR_S: dict[Act, tuple[float, ...]] = {
    "freeze": (0.05, 0.3),
    "lapse": LAPSES_S,
    "kill": (0, 0, 0.0005, 0.002),
    "exit": (0, 0, 0.0005, 0.002),
}


def _at_steps(random: Random, nodes: Sequence[str], steps: Sequence[str], has_sessions: bool) -> Iterator[AtStep]:
    for node in nodes:
        # A process that is killed is started again: its next life may have a fault too.
        for life in range(1, 1 + random.choice((0, 1, 1, 2, 3))):
            act: Act = random.choice(("kill", "kill", "kill", "exit", "freeze", "lapse" if has_sessions else "freeze"))
            for_s = random.choice(_FOR_S[act])
            # Low numbers oftener: they are reached for sure.
            nth = min(random.randint(1, NTH_MAX), random.randint(1, NTH_MAX))
            yield AtStep(node, life, random.choice(steps), nth, act, for_s)


def _from_outside(random: Random, nodes: Sequence[str], acts: Sequence[Outside], calls: int) -> Iterator[FromOutside]:
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        act = random.choice(acts)
        if "cut" in acts and random.random() < RESTARTS:
            act = "restart the database"
        for_s = 0.0 if act in _MOMENTARY else random.choice((0.05, 0.1, 0.3))
        for_s = random.choice(LAPSES_S) if act == "lapse" else for_s
        times = random.randint(1, 4) if "COMMIT" in act or act == "cut one" else 1
        yield FromOutside(random.randrange(calls), act, random.choice(nodes), for_s, times)


def _clock(random: Random) -> Clock:
    return Clock(
        random.choice((0, 3600, -3600, -86_400)), random.choice((0, 0.05, 0.2)), random.choice((1, 1.01, 0.99))
    )
