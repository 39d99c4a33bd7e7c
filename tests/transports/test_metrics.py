"""/metrics: what all workers did, whichever of them is asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from toque.call.context import Context
from toque.call.observation import BOUNDS_S, Figures
from toque.call.waiting import Waiting
from toque.contract.errors import Overloaded
from toque.transports import metrics
from toque.transports.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metrics, "monotonic", clock)
    return clock


def figures(*calls: tuple[str, float], in_flight: int = 0) -> dict[str, Figures]:
    seen = Figures("menu.list", "query")
    seen.in_flight = in_flight
    for code, seconds in calls:
        seen.record(code, seconds)
    return {"menu.list": seen}


def samples(shown: tuple[bytes, str]) -> dict[tuple[str, str], float]:
    """Values by sample name and the label that tells its samples apart."""
    return {
        (sample.name, sample.labels.get("code", sample.labels.get("le", ""))): sample.value
        for family in parse_text(shown[0].decode())
        for sample in family.samples
        if sample.name.startswith("toque_")
    }


def test_calls_are_shown_by_outcome_and_duration() -> None:
    shown = samples(Metrics(figures(("ok", 0.002), ("ok", 0.3), ("not_found", 60), in_flight=2)).expose())

    assert shown["toque_calls_total", "ok"] == 2
    assert shown["toque_calls_total", "not_found"] == 1
    assert shown["toque_call_seconds_count", ""] == 3
    assert shown["toque_call_seconds_sum", ""] == pytest.approx(60.302)
    assert shown["toque_call_seconds_bucket", "0.001"] == 0
    assert shown["toque_call_seconds_bucket", "0.0025"] == 1
    assert shown["toque_call_seconds_bucket", "10.0"] == 2
    assert shown["toque_call_seconds_bucket", "+Inf"] == 3
    assert shown["toque_calls_in_flight", ""] == 2


def test_each_operation_has_its_labels() -> None:
    shown, _ = Metrics(figures(("ok", 0.1))).expose()

    assert 'toque_calls_total{code="ok",kind="query",operation="menu.list"} 1.0' in shown.decode()


def test_an_operation_that_was_never_called_is_not_shown() -> None:
    assert samples(Metrics(figures()).expose()) == {}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0",
        ),
    ],
)
def test_the_scraper_chooses_the_format(accept: str, content_type: str) -> None:
    shown, chosen = Metrics(figures(("ok", 0.1))).expose(accept)

    assert chosen.startswith(content_type)
    parse = parse_openmetrics if "openmetrics" in chosen else parse_text
    assert "toque_calls" in {family.name for family in parse(shown.decode())}


def test_a_scrape_adds_up_all_workers_and_its_own_live_figures(tmp_path: Path, clock: Clock) -> None:
    ours, theirs = figures(("ok", 0.1)), figures(("ok", 0.1), ("conflict", 0.2), in_flight=1)
    here, there = Metrics(ours, tmp_path), Metrics(theirs, tmp_path)
    here.flush()
    there.flush()
    ours["menu.list"].record("ok", 0.1)

    shown = samples(here.expose())

    assert shown["toque_calls_total", "ok"] == 3
    assert shown["toque_calls_total", "conflict"] == 1
    assert shown["toque_call_seconds_count", ""] == 4
    assert shown["toque_calls_in_flight", ""] == 1


WORKER = """
import os, sys
from pathlib import Path
from toque.call.observation import Figures
from toque.transports.metrics import Metrics
seen = Figures("menu.list", "query")
seen.record("ok", 0.1)
seen.in_flight = 1
Metrics({"menu.list": seen}, Path(sys.argv[1])).flush()
os._exit(9)
"""


def test_what_a_dead_worker_counted_stays_and_what_it_had_under_way_does_not(tmp_path: Path) -> None:
    source = Path(metrics.__file__).parents[2]
    subprocess.run([sys.executable, "-c", WORKER, tmp_path], env={**os.environ, "PYTHONPATH": str(source)}, check=False)

    shown = samples(Metrics(figures(("ok", 0.1)), tmp_path).expose())

    assert shown["toque_calls_total", "ok"] == 2
    assert shown["toque_calls_in_flight", ""] == 0


def test_figures_are_written_at_most_once_a_second_and_only_when_changed(tmp_path: Path, clock: Clock) -> None:
    seen = figures(("ok", 0.1))
    worker = Metrics(seen, tmp_path)
    written: list[float] = []

    def look() -> None:
        before = {file.name: file.stat().st_ino for file in tmp_path.iterdir()}
        worker.flush_if_due()
        if before != {file.name: file.stat().st_ino for file in tmp_path.iterdir()}:
            written.append(clock.now)

    look()
    seen["menu.list"].record("ok", 0.1)
    for now in (1000.5, 1001.0, 1002.0, 1003.0):
        clock.now = now
        look()
    seen["menu.list"].record("ok", 0.1)
    look()
    clock.now = 1004.0
    look()

    assert written == [1000.0, 1001.0, 1004.0]


def test_a_worker_learns_when_to_write_what_is_left(tmp_path: Path, clock: Clock) -> None:
    worker = Metrics(figures(("ok", 0.1)), tmp_path)

    assert worker.flush_if_due() is None
    clock.now += 0.25
    assert worker.flush_if_due() == 0.75
    clock.now += 0.75
    assert worker.flush_if_due() is None


def test_one_worker_alone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Metrics(figures(("ok", 0.1))).flush_if_due() is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_fails_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    worker = Metrics(figures(("ok", 0.1)), tmp_path / "gone")

    worker.flush_if_due()

    assert "cannot be written" in caplog.text
    assert samples(worker.expose())["toque_calls_total", "ok"] == 1


def test_files_that_are_not_understood_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "figures-1-broken").write_bytes(b"\xc1")
    old = Figures("menu.list", "query")
    old.buckets = [0] * len(BOUNDS_S)
    old.record("ok", 0.1)
    Metrics({"menu.list": old}, tmp_path).flush()

    assert samples(Metrics(figures(("ok", 0.1)), tmp_path).expose())["toque_calls_total", "ok"] == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are described by /proc")
def test_every_living_worker_is_described_as_a_process(tmp_path: Path) -> None:
    shown, _ = Metrics(figures(("ok", 0.1)), tmp_path).expose("application/openmetrics-text; version=1.0.0")

    families = {family.name: family for family in parse_openmetrics(shown.decode())}
    assert [sample.labels for sample in families["process_resident_memory_bytes"].samples] == [
        {"pid": str(os.getpid())}
    ]
    assert families["process_cpu_seconds"].samples[0].value >= 0


async def test_a_line_shows_who_uses_who_waits_and_who_was_refused(tmp_path: Path) -> None:
    held: list[None] = [None, None]
    waiting: Waiting[None] = Waiting("boats", 2, 1, give_back=held.append, in_use=lambda: len(held))
    served = asyncio.ensure_future(waiting.turn(Context("sail", inf)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await waiting.turn(Context("sail", inf))
    sibling = Metrics({}, tmp_path, [waiting])
    sibling.flush()

    shown = Metrics({}, tmp_path, [waiting]).expose()[0].decode()

    assert 'toque_slots{of="boats"} 4.0' in shown
    assert 'toque_slots_in_use{of="boats"} 4.0' in shown
    assert 'toque_calls_waiting{of="boats"} 2.0' in shown
    assert 'toque_calls_refused_total{of="boats",priority="critical",reason="full"} 2.0' in shown

    assert waiting.hand_over(None)
    await served
    shown = Metrics({}, lines=[waiting]).expose()[0].decode()
    assert 'toque_calls_waiting{of="boats"} 0.0' in shown
    assert 'toque_wait_seconds_count{of="boats"} 1.0' in shown
