"""What is counted of answers from memory, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from toque.call.counts import Count

if TYPE_CHECKING:
    from toque.cache.cache import Cache

__all__ = ["HELP", "counts", "gauges"]

HELP: Mapping[str, str] = {
    "cache_calls": "Calls of queries that may be answered from memory: from memory (hit), by the run of another call "
    "(joined), by a run whose answer was kept (kept) or was not (unkept), or past memory (bypassed).",
    "cache_verified": "Hits that were run again and compared; a wrong one is a bug, or a declaration does not hold.",
    "cache_gone": "Answers that are kept no longer: what they have read changed (changed), or for want of room (room).",
    "cache_looks": "Looks into the log of changes.",
    "cache_bytes": "What answers in memory take.",
    "cache_answers": "Answers in memory.",
    "cache_workers": "Workers that answer from memory at present.",
}
"""Each figure's meaning, by its name without the prefix `toque_`."""


def counts(cache: Cache) -> Iterator[Count]:
    """What only grows. There is one operation a label, never an input or a caller."""
    for operation, query in cache.queries.items():
        figures = query.figures
        outcomes = {
            "hit": figures.hits,
            "joined": figures.joined,
            "kept": figures.kept,
            "unkept": figures.runs - figures.kept,
            "bypassed": figures.bypassed,
        }
        if any(outcomes.values()):
            for outcome, value in outcomes.items():
                yield Count("cache_calls", {"operation": operation, "outcome": outcome}, value)
        if figures.verified:
            for outcome, value in (("right", figures.verified - figures.wrong), ("wrong", figures.wrong)):
                yield Count("cache_verified", {"operation": operation, "outcome": outcome}, value)
    yield Count("cache_gone", {"reason": "changed"}, cache.entries.dropped)
    yield Count("cache_gone", {"reason": "room"}, cache.entries.evicted)
    yield Count("cache_looks", {}, cache.runner.looks)


def gauges(cache: Cache) -> Iterator[Count]:
    """What there is at this moment."""
    yield Count("cache_bytes", {}, cache.entries.bytes)
    yield Count("cache_answers", {}, len(cache.entries))
    yield Count("cache_workers", {}, int(cache.is_on))
