"""Goals beside figures: what was promised, what was measured, and where another contender was better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.measure import Result
from bench.works import Compare, Goal, Metric

OURS = "toque"


@dataclass(frozen=True)
class Measure:
    """What a figure is called, its unit (of a work that counts {what}), and which way is better."""

    word: str
    unit: str
    higher_is_better: bool = False


METRICS: dict[Metric, Measure] = {
    "requests_per_s": Measure("rate", "{what}s/s", higher_is_better=True),
    "cpu_us_per_request": Measure("CPU", "us/{what}"),
    "p50_ms": Measure("p50", "ms"),
    "p99_ms": Measure("p99", "ms"),
    "first_answer_s": Measure("first answer", "s"),
    "memory_mb": Measure("memory", "MB"),
    "stale_reads": Measure("stale reads", ""),
    "queries": Measure("queries of a change", ""),
    "last_ms": Measure("time until all have it", "ms"),
}


@dataclass(frozen=True)
class Comparison:
    """How two figures become one, and which side of the bound is good."""

    of: Callable[[float, float], float]
    at_least: bool
    wording: str


COMPARISONS: dict[Compare, Comparison] = {
    "times": Comparison(lambda ours, theirs: ours / theirs, True, "{metric} >= {bound} x {against}"),
    "times less": Comparison(lambda ours, theirs: theirs / ours, True, "{metric} >= {bound} x less than {against}"),
    "share": Comparison(lambda ours, theirs: ours / theirs, False, "{metric} <= {bound} x {against}"),
    "more": Comparison(lambda ours, theirs: ours - theirs, False, "{metric} <= {against} + {bound} {unit}"),
    "fewer": Comparison(lambda ours, theirs: theirs - ours, True, "{metric}: at least {bound} fewer than {against}"),
    "alone": Comparison(lambda ours, _: ours, False, "{metric} <= {bound} {unit}"),
}


@dataclass(frozen=True)
class Verdict:
    """One goal beside what was measured; `measured` is None where a figure is missing."""

    work: str
    wording: str
    measured: float | None
    met: bool
    by_cpu: float | None = None  # the same comparison by CPU, for a goal that speaks of a rate

    @property
    def word(self) -> str:
        return "not measured" if self.measured is None else "met" if self.met else "missed"


def verdicts(results: list[Result]) -> list[Verdict]:
    """Judge every goal of the works in which Toque took part."""
    found = {(result.work.name, result.contender.name): result for result in results}
    ours = [result for result in results if result.contender.name == OURS]
    return [judge(goal, each, found.get((each.work.name, goal.against))) for each in ours for goal in each.work.goals]


def judge(goal: Goal, ours: Result, theirs: Result | None) -> Verdict:
    comparison = COMPARISONS[goal.compare]
    our_figure = getattr(ours.figures, goal.metric)
    their_figure = getattr(theirs.figures, goal.metric) if theirs else None if goal.against else 0.0
    if our_figure is None or their_figure is None:
        return Verdict(ours.work.title, wording(goal, ours.work.unit), None, False)
    measured = comparison.of(our_figure, their_figure)
    met = measured >= goal.bound if comparison.at_least else measured <= goal.bound
    return Verdict(ours.work.title, wording(goal, ours.work.unit), measured, met, rate_by_cpu(goal, ours, theirs))


def rate_by_cpu(goal: Goal, ours: Result, theirs: Result | None) -> float | None:
    """The ratio of rates that two servers would show on a whole core each, undisturbed."""
    our_us = ours.figures.cpu_us_per_request
    their_us = theirs.figures.cpu_us_per_request if theirs else None
    if goal.metric != "requests_per_s" or not our_us or not their_us:
        return None
    return their_us / our_us


def wording(goal: Goal, what: str) -> str:
    metric = METRICS[goal.metric]
    unit = metric.unit.format(what=what)
    return (
        COMPARISONS[goal.compare]
        .wording.format(bound=f"{goal.bound:g}", metric=metric.word, unit=unit, against=goal.against)
        .rstrip()
    )


def losses(results: list[Result]) -> list[str]:
    """Each figure in which a peer was better than Toque, whether a goal speaks of it or not."""
    ours = {result.work.name: result for result in results if result.contender.name == OURS}
    peers = [result for result in results if not result.contender.name.startswith(OURS)]
    return [line for peer in peers if peer.work.name in ours for line in lost_to(peer, ours[peer.work.name])]


def lost_to(peer: Result, ours: Result) -> list[str]:
    lines = []
    for name, metric in METRICS.items():
        mine, theirs = getattr(ours.figures, name), getattr(peer.figures, name)
        if mine is None or theirs is None or mine == theirs or (mine > theirs) == metric.higher_is_better:
            continue
        figures = f"{figure(theirs)} {metric.unit.format(what=peer.work.unit)} against our {figure(mine)}"
        lines.append(f"{peer.work.title}: {metric.word} of {peer.contender.name}, {figures}")
    return lines


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
