"""`toque worker --metrics-port`: a worker that is apart can be scraped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from shell import Toque, write

APP = """
from toque import App, Event, Outbox, public

app = App("bells")

class Rung(Event):
    number: int

@app.on(Rung)
async def hear(event: Rung) -> None: ...
"""


def test_a_worker_shows_its_metrics_where_it_is_told_to(toque: Toque, tmp_path: Path) -> None:
    write(tmp_path, {"app.py": APP})
    command = [sys.executable, "-m", "toque", "worker", "--metrics-port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        try:
            assert worker.stdout is not None
            said = worker.stdout.readline().decode()
            port = int(said.rpartition(" ")[2])
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                shown = answer.read().decode()
            taken = toque("worker", "app.py", "--metrics-port", str(port))
        finally:
            worker.terminate()

    assert 'toque_consumer_events_total{consumer="bells.hear",outcome="handled"} 0.0' in shown
    assert 'toque_consumer_lag_events{consumer="bells.hear"} 0.0' in shown
    assert (taken.code, f"cannot listen on 127.0.0.1:{port}" in taken.err) == (1, True)
