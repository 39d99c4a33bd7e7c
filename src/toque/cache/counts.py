"""What is counted of answers from memory, and of those who follow them, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from toque.call.counts import Count

if TYPE_CHECKING:
    from toque.cache.cache import Cache
    from toque.cache.live import Live

__all__ = ["HELP", "counts", "gauges", "live_counts", "live_gauges"]

HELP: Mapping[str, str] = {
    "cache_calls": "Calls of queries that may be answered from memory: from memory (hit), by the run of another call "
    "(joined), by a run whose answer was kept (kept) or was not (unkept), or past memory (bypassed).",
    "cache_verified": "Hits that were run again and compared; a wrong one is a bug, or a declaration does not hold.",
    "cache_gone": "Answers that are kept no longer: what they have read changed (changed), or for want of room (room).",
    "cache_looks": "Looks into the log of changes.",
    "cache_bytes": "What answers in memory take.",
    "cache_answers": "Answers in memory.",
    "cache_workers": "Workers that answer from memory at present.",
    "cache_shared": "Answers of other processes that were taken over (taken), or did not hold (refused), and answers "
    "that were left for others (sent).",
    "cache_shared_failures": "How often the server of shared answers did not answer.",
    "cache_purged": "Names that the cache in front was told to forget.",
    "cache_purge_failures": "How often it could not be told.",
    "cache_purge_waiting": "Names that it has yet to be told.",
    "live_subscriptions": "Subscriptions that are open.",
    "live_answers": "Different answers that are followed.",
    "live_bytes": "What followed answers take in memory.",
    "live_runs": "Queries that were run because a followed answer had changed, or somebody came.",
    "live_states": "States that followers were given.",
    "live_ended": "Subscriptions that were ended, and not by their client, by the code of the error.",
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
    if (shared := cache.counted_shared) is not None:
        for outcome, value in (("taken", shared.found), ("refused", shared.refused), ("sent", shared.sent)):
            yield Count("cache_shared", {"outcome": outcome}, value)
        yield Count("cache_shared_failures", {}, shared.circuit.opened)
    if (purging := cache.counted_purging) is not None:
        yield Count("cache_purged", {}, purging.said)
        yield Count("cache_purge_failures", {}, purging.failures)


def gauges(cache: Cache) -> Iterator[Count]:
    """What there is at this moment."""
    yield Count("cache_bytes", {}, cache.entries.bytes)
    yield Count("cache_answers", {}, len(cache.entries))
    yield Count("cache_workers", {}, int(cache.is_on))
    if cache.purging is not None:
        yield Count("cache_purge_waiting", {}, cache.purging.waiting)


def live_counts(live: Live) -> Iterator[Count]:
    """What only grows."""
    yield Count("live_runs", {}, live.runs)
    yield Count("live_states", {}, live.states)
    for code, count in live.ended.items():
        yield Count("live_ended", {"code": code}, count)


def live_gauges(live: Live) -> Iterator[Count]:
    """What there is at this moment."""
    yield Count("live_subscriptions", {}, live.subscriptions)
    yield Count("live_answers", {}, live.topics)
    yield Count("live_bytes", {}, live.bytes)
