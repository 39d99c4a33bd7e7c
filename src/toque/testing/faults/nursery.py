"""A process that has everything loaded, and becomes a node of the app whenever one is wanted: fork takes milliseconds
where a start of Python takes a second.

It is told what to become by lines of JSON, and ends with whoever tells it; so do all that came out of it, also those
that are frozen.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import msgspec

from toque.testing.faults.node import Body, Life
from toque.testing.faults.scenario import load

__all__ = ["Nursery"]


class Nursery:
    """The parent of all nodes, seen from outside."""

    def __init__(self, target: str) -> None:
        """*target* names the scenario (see `load`)."""
        # It finds modules where this process does, a test's own folder among them.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-c", f"from {__name__} import main; main({target!r})"],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self) -> None:
        """Come back when it is ready. Raises: RuntimeError where the scenario cannot be loaded."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the scenario could not be loaded; what is wrong stands above.")

    def bear(self, life: Life) -> None:
        """Begin *life*. It says itself when it is there."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(life) + b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it, and all that came out of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main(target: str) -> None:
    body = Body(load(target))
    # What is loaded now is shared by all lives: collecting garbage would only copy its pages.
    gc.collect()
    gc.freeze()
    # Nobody asks how they ended: they have a socket, which tells that.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"ready\n")
    decode = msgspec.json.Decoder(Life).decode
    for line in sys.stdin.buffer:
        if os.fork() == 0:
            _become(body, decode(line))
    # They are of its group, and so is it; nothing is left to do.
    os.killpg(0, signal.SIGKILL)


def _become(body: Body, life: Life) -> None:
    """Live *life*, and never come back."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(life.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        body.live(life)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
