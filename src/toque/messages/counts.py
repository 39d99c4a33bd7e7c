"""What a process counts of its messages, beside what the database knows: how often, and with which outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

__all__ = ["HELP", "Count", "added", "counted"]

HELP: Mapping[str, str] = {
    "consumer_events": "Events that a consumer has handled, tries again (retried), or has given up (dead).",
    "jobs_ended": "Starts of jobs that have ended: done, again, dead, cancelled, or superseded by another start.",
    "webhook_tries": "Tries to deliver a webhook, by outcome.",
    "webhook_endpoints_disabled": "Endpoints that were disabled because they wanted no more, or failed for days.",
    "relay_events": "Events that a broker has confirmed.",
}
"""Each figure's meaning, by its name without the prefix `toque_`."""


class Count(Struct, array_like=True):
    """One figure that only grows."""

    name: str
    labels: dict[str, str]
    value: int


def counted(name: str, labels: tuple[str, str], counts: Mapping[tuple[str, str], int]) -> Iterator[Count]:
    """*counts* as figures: their keys are the values of *labels*."""
    for values, count in counts.items():
        yield Count(name, dict(zip(labels, values, strict=True)), count)


def added(counts: Iterable[Count]) -> list[Count]:
    """Those of several processes, summed."""
    sums: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
    for each in counts:
        sums[each.name, tuple(sorted(each.labels.items()))] += each.value
    return [Count(name, dict(labels), value) for (name, labels), value in sorted(sums.items())]
