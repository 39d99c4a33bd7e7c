"""`/metrics`: what all workers did, in the formats of Prometheus.

Each worker writes its figures to a file beside those of its siblings, at most once a second and only when
they have changed; a scrape, which any one of them answers, adds up the files and its own live figures. What a
worker counted outlives it, so that counters never fall; the folder goes with the parent.
Sources: Prometheus, "Metric and label naming"; OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from toque.call.counts import Count, added
from toque.call.observation import BOUNDS_S, Figures
from toque.call.waiting import Waiting
from toque.transports.line_metrics import LineSnapshot, cumulated, families, line_snapshot
from toque.transports.replies import DATA_HEADERS
from toque.transports.router import Endpoint

if TYPE_CHECKING:
    from prometheus_client import Metric

    from toque.store.insight.measures import Measure, Measuring

__all__ = ["Metrics", "metrics_endpoint"]

log = logging.getLogger("toque.metrics")

WRITE_EVERY_S = 1.0
"""Prometheus scrapes every 15 s to 60 s: a second is not seen there, and a small file a second is cheap."""

Measured = Mapping[str, "Sequence[Measure]"]
"""Figures of the database, by what their names begin with."""


class Snapshot(msgspec.Struct, array_like=True):
    """The figures of one operation in one worker, as they were at one moment."""

    operation: str
    kind: str
    codes: dict[str, int]
    buckets: list[int]
    seconds: float
    in_flight: int


class WorkerFile(msgspec.Struct, array_like=True):
    """What one worker has written."""

    pid: int
    figures: list[Snapshot]
    lines: list[LineSnapshot] = []
    counts: list[Count] = []
    gauges: list[Count] = []


class Metrics:
    """The figures of one worker, kept for its siblings and shown together with theirs.

    Args:
        figures: the live figures of every operation; they may grow in number.
        folder: where the workers of one server write; None where there is only this one.
        lines: where calls wait for one another.
        measuring: look at the app's database, by what their figures' names begin with.
        counts: what this process counts beside.
        gauges: what it has at this moment.
    """

    def __init__(
        self,
        figures: Mapping[str, Figures],
        folder: Path | None = None,
        lines: Sequence[Waiting[Any]] = (),
        *,
        measuring: Mapping[str, Measuring] | None = None,
        counts: Callable[[], list[Count]] = list,
        gauges: Callable[[], list[Count]] = list,
    ) -> None:
        self._figures = figures
        self._lines = lines
        self._measuring = measuring or {}
        self._counts = counts
        self._gauges = gauges
        self._folder = folder
        self.begin()

    def begin(self) -> None:
        """Write to a file of our own from now on: what a worker does first, for it may be a copy of its parent."""
        # A process id may come again after its worker has died, and must not overwrite what that one counted.
        name = f"figures-{os.getpid()}-{secrets.token_hex(4)}"
        self._file = None if self._folder is None else self._folder / name
        self._written = b""
        self._due = 0.0

    def flush_if_due(self) -> float | None:
        """Write the figures, if they have changed and the last time is a second ago.

        Returns: the seconds until what is left may be written, or None where nothing is. It costs a look at
        the clock, so it may be called after every request.
        """
        if self._file is None:
            return None
        now = monotonic()
        if now < self._due:
            return self._due - now
        self._due = now + WRITE_EVERY_S
        content = msgspec.msgpack.encode(self.own())
        if content != self._written:
            self._write(self._file, content)
        return None

    def flush(self) -> None:
        """Write the figures now: the last act of a worker."""
        self._due = 0.0
        self.flush_if_due()

    async def measured(self) -> Measured:
        """How the database is, as it was within the last ten seconds."""
        found = await asyncio.gather(*(look() for look in self._measuring.values()))
        return dict(zip(self._measuring, found, strict=True))

    def expose(
        self, accept: str = "", own: WorkerFile | None = None, measured: Measured = MappingProxyType({})
    ) -> tuple[bytes, str]:
        """The sum of all workers' figures, and its content type, which follows the client's `Accept`.

        Args:
            own: this worker's figures, where they were taken before: by the event loop, for another thread.
            measured: how the database is.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: self._all(own or self.own()), measured))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def own(self) -> WorkerFile:
        """What this worker counted, of the operations that were called at all."""
        begun = (figures for figures in self._figures.values() if figures.in_flight or figures.calls)
        figures = [_snapshot(each) for each in begun]
        lines = list(map(line_snapshot, self._lines))
        return WorkerFile(os.getpid(), figures, lines, self._counts(), self._gauges())

    async def scraped(self, accept: str) -> tuple[bytes, str]:
        """What `expose` says, with the database's figures. It reads the siblings' files and renders in a thread: that
        may take longer than the event loop should stand still."""
        measured = await self.measured()
        return await asyncio.to_thread(self.expose, accept, self.own(), measured)

    def _all(self, own: WorkerFile) -> list[WorkerFile]:
        """Every worker's figures: this one's live, its siblings' as they last wrote them."""
        files = [] if self._file is None else sorted(self._file.parent.glob("figures-*"))
        return [own, *(worker for file in files if file != self._file and (worker := _read(file)))]

    def _write(self, file: Path, content: bytes) -> None:
        """Replace the file whole, so that no scrape reads half of it; a call does not fail for its count."""
        draft = file.with_name(f"draft-{file.name}")
        try:
            draft.write_bytes(content)
            os.replace(draft, file)
        except OSError as error:
            log.warning("the figures of this worker cannot be written: %s", error)
            return
        self._written = content


def metrics_endpoint(metrics: Metrics) -> Endpoint:
    """What answers GET at `/metrics`."""

    async def answer(scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        body, content_type = await metrics.scraped(asked.get("accept") or "")
        proto.response_bytes(200, [("content-type", content_type), ("cache-control", "no-store"), *DATA_HEADERS], body)

    return answer


class _Collector:
    """What prometheus_client asks for its metrics: made anew for every scrape."""

    def __init__(self, workers: Callable[[], list[WorkerFile]], measured: Measured) -> None:
        self._workers = workers
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        workers = self._workers()
        living = [worker for worker in workers if _is_alive(worker.pid)]
        yield from _calls(_added(workers), _added(living))
        yield from families(_lines_of(workers), _lines_of(living))
        yield from _processes([worker.pid for worker in living])
        yield from _counted((count for worker in workers for count in worker.counts), is_gauge=False)
        yield from _counted((gauge for worker in living for gauge in worker.gauges), is_gauge=True)
        for prefix, measures in self._measured.items():
            yield from _measured(prefix, measures)


def _calls(totals: Iterable[Snapshot], living: Iterable[Snapshot]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = ("operation", "kind")
    calls = CounterMetricFamily("toque_calls", "Calls that have ended, by outcome.", labels=(*labels, "code"))
    seconds = HistogramMetricFamily("toque_call_seconds", "How long calls took, in seconds.", labels=labels)
    in_flight = GaugeMetricFamily("toque_calls_in_flight", "Calls that are under way.", labels=labels)
    for each in totals:
        for code, count in sorted(each.codes.items()):
            calls.add_metric((each.operation, each.kind, code), count)
        seconds.add_metric((each.operation, each.kind), cumulated(each.buckets), each.seconds)
    for each in living:
        in_flight.add_metric((each.operation, each.kind), each.in_flight)
    yield from (calls, seconds, in_flight)


def _counted(counts: Iterable[Count], *, is_gauge: bool) -> Iterable[Metric]:
    """What workers counted beside their calls, summed."""
    from toque.cache.counts import HELP as CACHE_HELP
    from toque.messages.counts import HELP as MESSAGES_HELP

    help = {**MESSAGES_HELP, **CACHE_HELP}
    return _by_name((f"toque_{each.name}", help.get(each.name, ""), each, is_gauge) for each in added(counts))


def _measured(prefix: str, measured: Iterable[Measure]) -> Iterable[Metric]:
    """How the database is, or what is in it."""
    return _by_name((prefix + each.name, each.help, each, not each.is_counter) for each in measured)


def _by_name(figures: Iterable[tuple[str, str, Count | Measure, bool]]) -> Iterable[Metric]:
    """One family for each name: of name, help, labels with a value, and whether that may fall."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for name, help, each, is_gauge in figures:
        if name not in families:
            make = GaugeMetricFamily if is_gauge else CounterMetricFamily
            families[name] = make(name, help, labels=tuple(each.labels))
        families[name].add_metric(tuple(each.labels.values()), each.value)
    return families.values()


def _lines_of(workers: Iterable[WorkerFile]) -> list[LineSnapshot]:
    return [line for worker in workers for line in worker.lines]


def _processes(pids: Iterable[int]) -> Iterable[Metric]:
    """What prometheus_client knows of a process, of each worker: a scrape sees all, whichever answers it."""
    from prometheus_client import ProcessCollector

    families: dict[str, Metric] = {}
    for pid in pids:
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(metric.name, metric)
            samples, metric.samples = metric.samples, []
            for sample in samples:
                family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
    return families.values()


def _added(workers: Iterable[WorkerFile]) -> Iterable[Snapshot]:
    """The figures of each operation, summed over *workers*."""
    sums: dict[tuple[str, str], Snapshot] = {}
    for each in (figures for worker in workers for figures in worker.figures):
        total = sums.setdefault(
            (each.operation, each.kind),
            Snapshot(each.operation, each.kind, {}, [0] * len(each.buckets), 0.0, 0),
        )
        for code, count in each.codes.items():
            total.codes[code] = total.codes.get(code, 0) + count
        total.buckets = [ours + theirs for ours, theirs in zip(total.buckets, each.buckets, strict=True)]
        total.seconds += each.seconds
        total.in_flight += each.in_flight
    return sums.values()


def _snapshot(figures: Figures) -> Snapshot:
    return Snapshot(
        figures.operation,
        figures.kind,
        dict(figures.codes),
        list(figures.buckets),
        figures.seconds,
        figures.in_flight,
    )


def _read(file: Path) -> WorkerFile | None:
    """What a sibling wrote; nothing where the file is gone or was written by another version."""
    try:
        worker = msgspec.msgpack.decode(file.read_bytes(), type=WorkerFile)
    except (OSError, msgspec.DecodeError):
        return None
    counted = [each.buckets for each in worker.figures] + [each.buckets for each in worker.lines]
    is_ours = all(len(buckets) == len(BOUNDS_S) + 1 for buckets in counted)
    return worker if is_ours else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
