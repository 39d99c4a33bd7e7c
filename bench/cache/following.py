"""Ten thousand clients that follow answers, and one who changes a row now and then.

A change is a command of the same app, and the next one waits until all who follow the row have its state. A state's
delay runs from its commit, as the store tells it, until its client has read it.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

from bench.load import compiled
from bench.server import Unfit

__all__ = ["FOLLOWERS", "Followed", "run"]

SOURCE = Path(__file__).with_name("followers.c")
FOLLOWERS = 10_000
READY_WITHIN_S = 60  # they come within 10 s
OVERTIME_S = 30
GAP_S = 0.02  # between two changes on average, at random, so that no clock of ours keeps step with them
SEED = 20_251_130
FIRST_NUMBER = 100_000  # above those that the rows have
RUNS = re.compile(r'toque_cache_calls_total\{operation="bench\.world",outcome="(?:kept|unkept)"\} (\S+)')


@dataclass
class Followed:
    """What one turn found."""

    seconds: float = 0.0
    changes: int = 0
    queries: int = 0
    delays_s: list[float] = field(default_factory=list)
    """Of each state."""
    last_s: list[float] = field(default_factory=list)
    """Of each change, until the last of its followers had it."""


def run(
    port: int,
    keys: int,
    *,
    warm_up_s: float,
    seconds: float,
    on_ready: Callable[[], None],
    on_measuring: Callable[[], None],
) -> Followed:
    """Have FOLLOWERS clients follow so many rows, and change one after the other.

    *on_ready* hears that all follow, *on_measuring* that the warm-up is over. Raises: Unfit.
    """
    command = [str(word) for word in (compiled(SOURCE), "127.0.0.1", port, FOLLOWERS, keys)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        limit = Timer(READY_WITHIN_S + warm_up_s + seconds + OVERTIME_S, process.kill)
        limit.start()
        try:
            _expect(process, "ready")
            on_ready()
            return _Changes(process, port, keys).measured(warm_up_s, seconds, on_measuring)
        finally:
            limit.cancel()
            process.kill()


def _expect(process: subprocess.Popen[str], *expected: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line or (expected and line not in expected):
        raise Unfit(f"its followers ended; the last they said was {line!r}")
    return line


class _Changes:
    def __init__(self, process: subprocess.Popen[str], port: int, keys: int) -> None:
        self._process = process
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=OVERTIME_S)
        self._keys = keys
        self._number = FIRST_NUMBER
        self._gaps = random.Random(SEED)

    def measured(self, warm_up_s: float, seconds: float, on_measuring: Callable[[], None]) -> Followed:
        self._change_for(warm_up_s, Followed())
        found, before = Followed(), self._runs()
        on_measuring()
        began = time.monotonic()
        self._change_for(seconds, found)
        found.seconds = time.monotonic() - began
        found.queries = self._runs() - before
        return found

    def _change_for(self, seconds: float, found: Followed) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until or not found.changes:
            self._change(found)
            time.sleep(self._gaps.expovariate(1 / GAP_S))

    def _change(self, found: Followed) -> None:
        self._number += 1
        key = 1 + self._number * 7919 % self._keys
        self._ask("POST", f"/world/{key}/{self._number}")
        at: float = json.loads(self._ask("GET", f"/committed/{self._number}"))["at"]
        delays = [self._next_delay(at) for _ in range(FOLLOWERS // self._keys)]
        found.changes += 1
        found.delays_s += delays
        found.last_s.append(max(delays))

    def _next_delay(self, at: float) -> float:
        """How long after *at* the next follower had the newest number. Raises: Unfit where it has another one."""
        _, number, read_at = _expect(self._process).split()
        if int(number) != self._number:
            raise Unfit(f"a follower was told {number} after {self._number} was committed")
        return float(read_at) - at

    def _runs(self) -> int:
        return sum(int(float(each)) for each in RUNS.findall(self._ask("GET", "/metrics").decode()))

    def _ask(self, method: str, path: str) -> bytes:
        self._client.request(method, path)
        answer = self._client.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Unfit(f"{method} {path}: {answer.status} {body[:200]!r}")
        return body
