"""The phases of a schema change, in their order, and how long each may wait and work.

Expand adds what the old code ignores; backfill fills it; switch swaps what no two releases can share; contract
takes away what only the old code needs. Until then both releases run on one schema ("Parallel Change", Martin
Fowler's bliki; "expand and contract").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LIMITS", "Limits", "Phase", "is_guarded"]

Phase = Literal["expand", "backfill", "switch", "contract"]

# An ALTER that waits for one idle reader makes every later reader wait behind it (PostgreSQL manual, "Explicit
# Locking": a queue). Half a second is what a person does not yet call a fault; measured: an idle reader blocked
# the others for as long as the ALTER waited.
LOCK_TIMEOUT_MS = 500


@dataclass(frozen=True)
class Limits:
    """What one statement of a phase may take."""

    lock_timeout_ms: int
    statement_timeout_ms: int


_SHORT = Limits(LOCK_TIMEOUT_MS, 10_000)
"""Changes of the catalogue: milliseconds each. One that takes ten seconds rewrites a table under its lock."""

LONG = Limits(60_000, 6 * 3_600_000)
"""CREATE INDEX CONCURRENTLY and VALIDATE let reads and writes go on, so that waiting harms nobody. Six hours is
what building an index on a billion rows takes on a small machine."""

LIMITS: dict[Phase, Limits] = {
    "expand": _SHORT,
    # A batch is a thousand rows: thirty seconds are a hundred times what it takes.
    "backfill": Limits(LOCK_TIMEOUT_MS, 30_000),
    "switch": _SHORT,
    "contract": _SHORT,
}


def is_guarded(phase: Phase) -> bool:
    """Whether it must wait for the releases that do not know of it."""
    return phase in ("switch", "contract")
