"""Toque as its users run it: `toque run` in a process of its own, in a folder of its own, on a free port."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

APPS = Path(__file__).parent / "apps"
GIVE_UP_S = 30.0
"""No test waits longer for anything: a hang is a failure, and CI machines are slow."""


class Served:
    """A running `toque` command."""

    def __init__(self, process: subprocess.Popen[str], first_line: str, folder: Path) -> None:
        self.process = process
        self.first_line = first_line
        self.folder = folder
        found = re.search(r" on (https?)://([^ ]+):(\d+) \((\w+)\)", first_line)
        assert found is not None, f"the first line names no address: {first_line!r}; {self.log()}"
        self.scheme, self.port, self.environment = found[1], int(found[3]), found[4]

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def answers(self, host: str = "localhost") -> bool:
        """Whether it answers already, as *host*. Raises where it never will."""
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        try:
            reply = httpx.get(f"{self.url}/healthz", timeout=1, verify=False, headers={"host": host})
            return reply.status_code == 200
        except httpx.HTTPError:
            return False

    def workers(self) -> list[int]:
        return children_of(self.pid)

    def rss_bytes(self) -> int:
        """The memory of all workers."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """How many files and sockets the workers hold."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.workers())

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def problems_in_log(self) -> list[str]:
        """Lines that no client may cause: tracebacks, and calls that failed by the app's fault."""
        return [line for line in self.log().splitlines() if "Traceback" in line or " failed" in line]

    def events(self) -> list[str]:
        """What the app under test has noted (apps/kitchen.py)."""
        return httpx.get(f"{self.url}/events", timeout=GIVE_UP_S).json()  # type: ignore[no-any-return]

    def wait_for_event(self, event: str) -> list[str]:
        until(lambda: event in self.events(), f"{event!r} among the events")
        return self.events()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = GIVE_UP_S) -> int:
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """End it as a supervisor would: TERM, and KILL for what is left."""
        workers = self.workers()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(GIVE_UP_S)
        finally:
            for pid in [self.pid, *workers]:
                kill_if_alive(pid)
            if self.process.stdout is not None:
                self.process.stdout.close()


@contextmanager
def serving(
    app: str,
    folder: Path,
    *flags: str,
    command: str = "run",
    settings: Mapping[str, Any] | None = None,
    host: str = "localhost",
    is_awaited: bool = True,
) -> Iterator[Served]:
    """`toque run` of a copy of apps/*app*, in *folder*; *settings* like {"http.body_timeout_s": 1}."""
    home = folder / "app"
    shutil.copytree(APPS / app, home)
    started = start([command, str(home), "--port", "0", *flags], folder, environment_of(settings or {}))
    if is_awaited:
        until(lambda: started.answers(host), "the first answer")
    try:
        yield started
    finally:
        started.stop()


def start(words: list[str], folder: Path, environment: Mapping[str, str]) -> Served:
    """Run a `toque` command that serves, and read its first line."""
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "toque", *words],
            stdout=subprocess.PIPE, stderr=log, text=True, env=dict(environment), cwd=folder,
        )  # fmt: skip
    assert process.stdout is not None
    return Served(process, process.stdout.readline(), folder)


def toque(*words: str, folder: Path, settings: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a `toque` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "toque", *words],
        check=False, capture_output=True, text=True, timeout=GIVE_UP_S, cwd=folder, env=environment_of(settings or {}),
    )  # fmt: skip


def environment_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a command, without the settings of whoever runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOQUE_")}
    given = {
        f"TOQUE_{name.replace('.', '_').upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    return {**own, "NO_COLOR": "1", **given}


def children_of(pid: int) -> list[int]:
    try:
        found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except FileNotFoundError:
        return []
    return sorted(int(child) for children in found for child in children)


def is_running(pid: int) -> bool:
    """Whether a process goes on; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_if_alive(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def until(condition: Any, what: str = "") -> None:
    """Wait until *condition* holds."""
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, f"gave up waiting for {what or condition}"
        time.sleep(0.01)
