"""What the protocol decides, for whoever runs it to do."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

__all__ = ["Again", "Answer", "Decision", "Hit", "Look", "Need", "Run"]


class Need(Struct, frozen=True):
    """What a request demands of its answer, beside the commits of its own process, which no answer misses."""

    bound_s: float
    """How long ago a commit must have been acknowledged so that it is not missed."""
    is_strict: bool = False
    """Whether none is missed that was acknowledged before the request arrived."""
    token: Any = None
    """The caller's own commit (`Token`); None where he brought none."""


class Hit(Struct, frozen=True):
    """Answer *ticket* with what is kept."""

    ticket: int
    value: Any


class Answer(Struct, frozen=True):
    """Answer *ticket* with what a flight, its own or one that it joined, brought."""

    ticket: int
    value: Any


class Again(Struct, frozen=True):
    """Have *ticket* ask again, with a new ticket and under a new key: the flight that it waited for has observed what
    its key does not tell, and may have answered for somebody else."""

    ticket: int


class Run(Struct, frozen=True):
    """Have *ticket* run the query for *flight*: `begin` it, take the snapshot, `read`, and `land` it."""

    ticket: int
    flight: int


class Look(Struct, frozen=True):
    """Look at the log now, and tell by `looked` or `lost`."""


Decision: TypeAlias = Hit | Answer | Again | Run | Look
