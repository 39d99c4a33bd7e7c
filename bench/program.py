"""A contender that measures itself: started on its core, listened to, and ended by its process id."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from bench.machine import on_core
from bench.server import BYTECODE, PROGRAMS, Unfit, stop, tail
from bench.works import Contender

ROOT = Path(__file__).parent.parent
OVERTIME_S = 60  # to fill a queue before the turn, and to see after it that all is there


@dataclass(frozen=True)
class Found:
    """What it says of its turn."""

    done: int
    seconds: float
    errors: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    stale_reads: int | None = None


def run(
    contender: Contender,
    core: int,
    places: dict[str, str],
    *,
    warm_up_s: float,
    seconds: float,
    on_measuring: Callable[[int], None],
    on_measured: Callable[[int], None],
) -> Found:
    """Have *contender* do a turn; both listeners are given its process id, before and after what is measured."""
    environment = {
        **BYTECODE,
        **{name: value.format(**places) for name, value in contender.environment},
        "BENCH_WARM_UP_S": str(warm_up_s),
        "BENCH_SECONDS": str(seconds),
    }
    with tempfile.TemporaryFile() as log:
        with on_core(core):
            process = subprocess.Popen(
                [str(PROGRAMS / contender.server[0]), *contender.server[1:]],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdout is not None
        limit = Timer(warm_up_s + seconds + OVERTIME_S, process.kill)
        limit.start()
        try:
            is_measuring = process.stdout.readline() == b"measuring\n"
            on_measuring(process.pid)
            is_measuring = is_measuring and process.stdout.readline() == b"measured\n"
            on_measured(process.pid)
            line = process.stdout.readline()
        finally:
            limit.cancel()
            stop(process)
            process.stdout.close()
        if not is_measuring or not line:
            raise Unfit(f"{' '.join(contender.server)} ended with exit code {process.returncode}\n{tail(log)}")
    return Found(**json.loads(line))
