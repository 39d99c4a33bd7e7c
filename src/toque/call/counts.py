"""What a process counts beside its calls: how often, and with which outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

__all__ = ["Count", "added", "counted"]


class Count(Struct, array_like=True):
    """One figure: one that only grows, unless it is taken as a gauge."""

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
