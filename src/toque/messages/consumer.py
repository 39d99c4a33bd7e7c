"""A consumer of the log, and what is the same for every owner it may have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from toque.messages.feed import Feed
from toque.messages.handling import Handling
from toque.messages.inbox import Inbox
from toque.messages.parked import Parked
from toque.messages.register import Register

__all__ = ["Consumer", "Counts", "Desk"]


@dataclass(eq=False)
class Counts:
    """What one process has done for one consumer; only grows."""

    handled: int = 0
    retried: int = 0
    dead: int = 0


@dataclass(frozen=True, eq=False)
class Consumer:
    """Who handles the events of one type under one name: a handler's own, or that of a replay."""

    name: str
    handling: Handling
    until: float | None = None
    """See `register.Row`."""
    counts: Counts = field(default_factory=Counts)

    @property
    def holds(self) -> bool:
        """Whether an event that cannot be handled holds up those of its key, until somebody decides."""
        return self.handling.plan.operation.on_failure == "park"

    @property
    def attempts_max(self) -> int:
        return self.handling.plan.operation.attempts_max


@dataclass(frozen=True, eq=False)
class Desk:
    """What all consumers of a process work with."""

    register: Register
    parked: Parked
    inbox: Inbox
    feed: Feed
    at_once: int
    """Events of one consumer that are at work at a time."""
    alone: asyncio.Lock
    """Held by the only event or job at work, where it matters which one ends the process."""
