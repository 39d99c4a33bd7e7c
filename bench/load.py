"""The load generator from Python's side: compiled once into build/, run for each measurement."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("load.c")
BUILD = Path(__file__).parent.parent / "build"
OVERTIME_S = 30  # a load that has not ended so long after its time hangs


@dataclass(frozen=True)
class Load:
    """What one run of the generator found."""

    requests: int
    errors: int
    refused: int
    malformed: int
    disconnected: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def compiled(source: Path = SOURCE, *libraries: str) -> Path:
    """Return the program of *source*, compiling it if that is newer."""
    program = BUILD / source.stem
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    if compiler() is None:
        raise RuntimeError("the load generator is written in C: install a C compiler (cc)")
    BUILD.mkdir(exist_ok=True)
    subprocess.run([str(compiler()), "-O2", "-o", program, source, *libraries], check=True)
    return program


def compiler() -> str | None:
    return shutil.which("cc")


def run(
    port: int,
    requests: tuple[bytes, ...],
    *,
    connections: int,
    warm_up_s: float,
    seconds: float,
    on_measuring: Callable[[], None] = lambda: None,
) -> Load:
    """Put a server under load; *on_measuring* is called when the warm-up is over."""
    sent = b"".join(b"%d\n%b" % (len(request), request) for request in requests)
    words = (connections, warm_up_s, seconds)
    output = output_of(compiled(), port, words, sent, seconds_max=warm_up_s + seconds, on_measuring=on_measuring)
    return Load(**json.loads(output))


def output_of(
    program: Path,
    port: int,
    words: Sequence[float],
    sent: bytes,
    *,
    seconds_max: float,
    on_measuring: Callable[[], None],
) -> str:
    """What a generator prints of its load on *port*; it finds what is *sent* in a file, its last argument."""
    file = BUILD / f"{program.name}-{port}.sent"
    file.write_bytes(sent)
    command = [program, "127.0.0.1", port, *words, file]
    try:
        with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if process.stdout.readline() == "measuring\n":
                on_measuring()
            output, _ = process.communicate(timeout=seconds_max + OVERTIME_S)
    finally:
        file.unlink()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator failed with exit code {process.returncode}")
    return output
