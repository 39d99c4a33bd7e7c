"""`toque events` and `toque worker` beside one another, on an app of a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

APP = """
from toque import App, Event, Outbox, public

class Rung(Event):
    number: int

app = App("bells")

@app.command(allow=public)
async def ring(number: int, outbox: Outbox) -> None:
    outbox.publish(Rung(number), key="door")

@app.on(Rung, attempts_max=1)
async def hear(event: Rung, outbox: Outbox) -> None:
    if event.number == 7:
        raise ValueError("seven")
"""

TOQUE = [sys.executable, "-m", "toque"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def toque(folder: Path, *words: str, code: int = 0, **environment: str) -> str:
    told = {**os.environ, **environment}
    command = [*TOQUE, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=told, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_worker_handles_what_is_published_and_an_operator_decides(folder: Path) -> None:
    assert "consumers" in toque(folder, "db", "upgrade")
    with subprocess.Popen([*TOQUE, "worker"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        try:
            assert worker.stdout is not None
            assert b"works" in worker.stdout.readline()
            for number in (7, 8):
                toque(folder, "call", "ring", f"number={number}")
            parked = _parked(folder, 2)
            assert [each["state"] for each in parked] == ["dead", "behind"]
            id = parked[0]["id"]

            assert "did you mean bells.hear?" in toque(folder, "events", "pause", "bells.her", code=2)
            assert json.loads(toque(folder, "events", "show", "bells.hear", id))["data"] == {"number": 7}
            toque(folder, "events", "edit", "bells.hear", id, "--data", '{"number": 9}')
            toque(folder, "events", "retry", "bells.hear", id)
            assert _parked(folder, 0) == []
            replay = ("events", "replay", "bells.hear", "--from", "1h", "--as", "again")
            assert "2 events could not be handled" in toque(folder, *replay, code=1)
            (again, consumer) = json.loads(toque(folder, "events", "consumers", "--format", "json"))
            assert (again["name"], again["parked"]) == ("again", {"dead": 1, "behind": 1})
            assert (consumer["name"], consumer["is_owned"], consumer["lag"]) == ("bells.hear", True, 0)
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    (*_, consumer) = json.loads(toque(folder, "events", "consumers", "--format", "json"))
    assert not consumer["is_owned"]


def _parked(folder: Path, count: int) -> list[dict[str, str]]:
    until = time.monotonic() + 60
    while True:
        found: list[dict[str, str]] = json.loads(toque(folder, "events", "parked", "--format", "json"))
        if len(found) == count or time.monotonic() > until:
            return found


def test_production_does_not_start_without_toques_tables(folder: Path) -> None:
    (folder / "app.db").touch()
    production = {
        "TOQUE_APP_ENVIRONMENT": "production",
        "TOQUE_HTTP_HOSTS": "shop.example",
        "TOQUE_DATABASE_URL": f"sqlite:///{folder / 'app.db'}",
    }
    assert "it lacks Toque's own tables for: events" in toque(folder, "run", "--port", "0", code=1, **production)
