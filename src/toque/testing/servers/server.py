"""A server process in a temporary folder, which tests start, kill, freeze and start again with its data."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import ClassVar

__all__ = ["Server", "free_port", "program"]

START_TIMEOUT_S = 180.0
"""RabbitMQ takes eight seconds on two idle cores, and twenty times that on two busy ones."""


class Server:
    """One process and its descendants. Subclasses say how it is started and when it is ready."""

    MESSAGE_BYTES_MAX: ClassVar[int] = 256 * 1024
    """The largest message that it is set to take."""

    SURVIVES_KILL: ClassVar[bool] = True
    """Whether it keeps what it confirmed when its process is killed."""

    SKIPS: ClassVar[Mapping[str, str]] = {}
    """Cases of the suite that it cannot pass, each with the reason."""

    SHARES_GROUPS: ClassVar[bool] = True
    """Whether it lets several members into a group."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="toque-broker-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, for `open_broker`."""
        raise NotImplementedError

    def command(self) -> Sequence[str | Path]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What it finds in its environment besides this process's own."""
        return {}

    def is_ready(self) -> bool:
        """Whether it takes clients."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start it, again with what it kept, and wait until it takes clients."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours to choose
                [str(part) for part in self.command()],
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Its own group: a signal reaches what it started, and nobody else.
            )
        until = monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self._process.poll() is not None or monotonic() > until:
                said = (self.folder / "output").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self.command()[0]} did not start: {said}")
            sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash would; `start` brings it back with what it kept."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Let it end in order; `start` brings it back with what it kept."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self._process is None:
            return
        self._process.wait()
        while self.is_ready():
            sleep(0.05)  # One of its descendants has the socket until the kernel has taken it apart.

    def freeze(self) -> None:
        """Stop it from doing anything; its connections stay open."""
        self._signal(signal.SIGSTOP)
        if self._process is not None and self._process.poll() is None:
            # Its threads stop when they get a processor, and until then they answer.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove everything it wrote."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str, package: str) -> Path:
    """The path of a server's program. Raises: FileNotFoundError, which says that *package* is to be installed."""
    import sys

    # Wheels put programs beside the interpreter, Debian puts servers where only root's PATH looks.
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError(f"no {name} to start: install {package}")
    return Path(found)
