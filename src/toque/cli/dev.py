"""`toque dev`: serve an app, anew after every change of its files.

The listening socket stays open here while the app below it is replaced, so a browser that reloads too early
waits instead of being refused; and the old app is given a moment, then ended, whatever streams it holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from watchfiles import DefaultFilter, watch

from toque.cli.parameters import Target
from toque.cli.serve import listen
from toque.cli.target import folder_of
from toque.settings import Settings, load

__all__ = ["dev"]

GRACE_S = 2.0
"""How long an outdated app may finish what it does; a person is waiting for the new one."""

WATCHED = (".py", ".html", ".toml", ".css", ".js")


def dev(target: Target = ".", /, *, host: str | None = None, port: int | None = None) -> None:
    """Serve the app TARGET, anew after every change of its files.

    - `toque dev` serves the app of the working folder.
    - `toque dev shop --port 9000` serves the app of the folder `shop`.

    Args:
        host: Address to listen on; setting `http.host`.
        port: Port to listen on, 0 for a free one; setting `http.port`.
    """
    settings, folder = _settings(target, host, port)
    listener = listen(settings)
    stopped = _Stopped()
    command = [sys.executable, "-m", "toque", "run", target, "--workers", "1", "--fd", str(listener.fileno())]
    while not stopped.is_set():
        # A session of its own: Ctrl-C reaches us alone, and the app can be ended with all its workers.
        child = subprocess.Popen(command, pass_fds=[listener.fileno()], start_new_session=True)  # noqa: S603
        try:
            changes = next(_changes(folder, stopped), None)
        finally:
            _end(child)
        if changes is not None and not stopped.is_set():
            print(f"reloading: {', '.join(sorted(changes))}", flush=True)


class _Stopped:
    """Set by SIGTERM or Ctrl-C; what `watchfiles` asks between two looks."""

    def __init__(self) -> None:
        self._is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, *_: object) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


def _settings(target: str, host: str | None, port: int | None) -> tuple[Settings, Path]:
    """Read in a child's stead: the app itself is imported only below, so that a reload is a fresh start."""
    folder = folder_of(target)
    flags = {"http.host": host, "http.port": None if port is None else str(port)}
    return load(folder, os.environ, {name: value for name, value in flags.items() if value is not None}), folder


def _changes(folder: Path, stopped: _Stopped) -> Iterator[set[str]]:
    for changes in watch(folder, watch_filter=_Sources(), stop_event=stopped, raise_interrupt=False):
        yield {str(Path(path).relative_to(folder)) for _, path in changes}


class _Sources(DefaultFilter):
    """What an app is made of; not its database, its logs or its caches."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(WATCHED) and super().__call__(change, path)  # type: ignore[arg-type]


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
