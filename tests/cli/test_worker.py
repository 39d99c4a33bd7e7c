"""`toque worker`: a process of its own for what is served by others."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from shell import Toque, write
from test_run import started

from toque.cli.garbage import YOUNG_MAX

APP = """
import asyncio, gc, json
from toque import App

app = App("collector")


@app.every("1s")
async def collect() -> None:
    loop = type(asyncio.get_running_loop()).__module__
    print(json.dumps([gc.get_freeze_count(), gc.get_threshold()[0], loop]), flush=True)
"""


def test_a_worker_has_the_loop_and_the_garbage_collector_of_a_served_process(tmp_path: Path) -> None:
    write(tmp_path, {"collector.py": APP})

    with started("worker", "collector.py", cwd=tmp_path) as running:
        said = running.line(r"^\[.*\]$")[0]

    frozen, young_max, loop = json.loads(said)
    # Toque's own modules alone are tens of thousands of objects.
    assert frozen > 10_000
    assert young_max == YOUNG_MAX
    assert loop == "uvloop"


OVEN = """
import asyncio
from pathlib import Path
from toque import App, Jobs, public

app = App("oven")


@app.job()
async def bake() -> None:
    Path("baked").touch()


@app.command(allow=public)
async def order(jobs: Jobs) -> None:
    jobs.enqueue(bake)


@app.query(allow=public)
async def look() -> bool:
    await asyncio.sleep(1)
    return Path("baked").exists()
"""


def test_a_call_from_the_shell_begins_nothing_that_waits(toque: Toque, tmp_path: Path) -> None:
    """It worked on jobs and events while it ran, and one that ended its process ended the call before its commit."""
    write(tmp_path, {"app.py": OVEN})

    assert toque("call", "order").code == 0
    assert toque("call", "look").out.strip() == "false"


STUCK = """
import time
from toque import App

app = App("stuck")


@app.every("1s")
async def wait() -> None:
    print("it begins", flush=True)
    time.sleep(600)
"""


def test_a_worker_ends_though_a_job_holds_up_its_event_loop(tmp_path: Path) -> None:
    """Only SIGKILL ended it; a served process is ended by its server."""
    write(tmp_path, {"stuck.py": STUCK})

    with started("worker", "stuck.py", cwd=tmp_path, TOQUE_MESSAGES_DRAIN_S="0.1") as running:
        running.line("it begins")
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(60) == 1
