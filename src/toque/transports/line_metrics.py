"""The metrics of the lines: what is used of what calls wait for, who waits, how long, and who was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from toque.call.observation import BOUNDS_S
from toque.call.waiting import Waiting

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["LineSnapshot", "cumulated", "families", "line_snapshot"]


class LineSnapshot(msgspec.Struct, array_like=True):
    """One line in one worker, as it was at one moment."""

    name: str
    slots: int
    in_use: int
    waiting: int
    refused: dict[str, dict[str, int]]
    """How many, by reason and priority."""
    buckets: list[int]
    seconds: float


def line_snapshot(waiting: Waiting[Any]) -> LineSnapshot:
    """What *waiting* shows at this moment."""
    refused: dict[str, dict[str, int]] = {}
    for (reason, priority), count in waiting.refused.items():
        refused.setdefault(reason, {})[priority.name.lower()] = count
    in_use, buckets = waiting.in_use(), list(waiting.buckets)
    return LineSnapshot(waiting.name, waiting.slots, in_use, waiting.line.count, refused, buckets, waiting.seconds)


def families(all_workers: Iterable[LineSnapshot], living: Iterable[LineSnapshot]) -> Iterator[Metric]:
    """Counters of all workers that there were, and gauges of those that live."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    slots = GaugeMetricFamily("toque_slots", "How many there are of what calls wait for.", labels=("of",))
    in_use = GaugeMetricFamily("toque_slots_in_use", "How many of them are in use.", labels=("of",))
    waiting = GaugeMetricFamily("toque_calls_waiting", "Calls that wait for one.", labels=("of",))
    refused = CounterMetricFamily(
        "toque_calls_refused",
        "Calls refused one: others go first (full), or their deadline comes too soon (late).",
        labels=("of", "reason", "priority"),
    )
    waits = HistogramMetricFamily(
        "toque_wait_seconds", "How long calls waited that had to and were served, in seconds.", labels=("of",)
    )
    for name, lines in _by_name(living).items():
        slots.add_metric((name,), sum(line.slots for line in lines))
        in_use.add_metric((name,), sum(line.in_use for line in lines))
        waiting.add_metric((name,), sum(line.waiting for line in lines))
    for name, lines in _by_name(all_workers).items():
        for (reason, priority), count in sorted(_refused(lines).items()):
            refused.add_metric((name, reason, priority), count)
        buckets = [sum(counts) for counts in zip(*(line.buckets for line in lines), strict=True)]
        waits.add_metric((name,), cumulated(buckets), sum(line.seconds for line in lines))
    yield from (slots, in_use, waiting, refused, waits)


def cumulated(buckets: Iterable[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets hold all that took at most their bound; ours hold each call once."""
    return list(zip([*map(str, BOUNDS_S), "+Inf"], accumulate(buckets), strict=True))


def _by_name(lines: Iterable[LineSnapshot]) -> dict[str, list[LineSnapshot]]:
    found: dict[str, list[LineSnapshot]] = {}
    for line in lines:
        found.setdefault(line.name, []).append(line)
    return found


def _refused(lines: Sequence[LineSnapshot]) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for line in lines:
        for reason, counts in line.refused.items():
            for priority, count in counts.items():
                total[reason, priority] = total.get((reason, priority), 0) + count
    return total
