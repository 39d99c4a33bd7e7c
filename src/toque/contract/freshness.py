"""How fresh an answer must be."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["BYPASS", "STRICT", "Freshness"]


class Freshness(Struct, frozen=True):
    """What an answer from memory may miss, beside the caller's own commits, which it never misses."""

    bound_s: float | None = None
    """How long ago a commit must have been acknowledged so that it is not missed; None: as the app says."""
    is_strict: bool = False
    """Whether none is missed that was acknowledged before the call came."""
    is_bypassed: bool = False
    """Whether memory is not asked at all, and keeps nothing."""


STRICT = Freshness(is_strict=True)
BYPASS = Freshness(is_bypassed=True)
