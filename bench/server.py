"""A contender's server: started on its core, asked, and ended by its process id."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.machine import free_port, on_core, tree
from bench.requests import Exchange
from bench.works import Contender

FOLDER = Path(__file__).parent / "contenders"
PROGRAMS = Path(sys.executable).parent  # granian, uvicorn and toque lie beside the interpreter

# An installed package has its bytecode; a shell that forbids writing it would have ours compiled at every start.
BYTECODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
FIRST_ANSWER_WITHIN_S = 20
ASK_AGAIN_AFTER_S = 0.001  # the error of a first answer's time
STOP_WITHIN_S = 5
LOG_TAIL_BYTES = 1000


class Unfit(Exception):
    """A contender could not be measured: it did not start, or does not do the work."""


@dataclass(frozen=True)
class Server:
    pid: int
    port: int
    first_answer_s: float


@contextmanager
def served(contender: Contender, exchange: Exchange, core: int, places: dict[str, str]) -> Iterator[Server]:
    """Start *contender* on *core*, wait for its first 200, and end it afterwards.

    *places* fills the braces of its environment: where the databases are.
    """
    port = free_port()
    command = [part.format(port=port, target=contender.target) for part in contender.server]
    environment = {name: value.format(**places) for name, value in contender.environment}
    with tempfile.TemporaryFile() as log:
        if contender.prepared_by:
            preparation = start(list(contender.prepared_by), environment, core, log)
            if preparation.wait(FIRST_ANSWER_WITHIN_S) != 0:
                raise Unfit(f"it could not be prepared\n{tail(log)}")
        started = time.perf_counter()
        process = start(command, environment, core, log)
        try:
            await_answer(process, port, exchange.requests[0])
            yield Server(process.pid, port, time.perf_counter() - started)
        except Unfit as error:
            raise Unfit(f"{error}\n{tail(log)}".rstrip()) from error
        finally:
            stop(process)


def start(command: list[str], environment: dict[str, str], core: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    program = PROGRAMS / command[0]
    if not program.exists():
        raise Unfit(f"{program} is not installed")
    with on_core(core):
        return subprocess.Popen(
            [str(program), *command[1:]],
            cwd=FOLDER,
            env={**BYTECODE, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def await_answer(process: subprocess.Popen[bytes], port: int, request: bytes) -> None:
    deadline = time.monotonic() + FIRST_ANSWER_WITHIN_S
    status = 0
    while status // 100 != 2:
        if process.poll() is not None:
            raise Unfit(f"its server ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise Unfit(f"no 2xx within {FIRST_ANSWER_WITHIN_S} s (last status: {status or 'none'})")
        time.sleep(ASK_AGAIN_AFTER_S)
        try:
            status, _ = ask(port, request)
        except OSError:
            status = 0


def prove(server: Server, exchange: Exchange) -> None:
    """Raise Unfit unless the contender answers rightly and refuses what is wrong."""
    status, body = ask(server.port, exchange.requests[0])
    answer = json.loads(body)
    if answer != exchange.answer:
        raise Unfit(f"expected {exchange.answer}, got {status} {answer}")
    for request in exchange.refused:
        status, body = ask(server.port, request)
        if status // 100 != 4:
            raise Unfit(f"expected a 4xx for {request!r}, got {status} {body!r}")


def prove_asked(server: Server, contender: Contender) -> None:
    """Raise Unfit unless what is asked of the contender alone is answered as it should be."""
    for request in contender.asks[:1]:
        status, _ = ask(server.port, request)
        if status != contender.status:
            raise Unfit(f"expected {contender.status} for {request!r}, got {status}")


def ask(port: int, request: bytes) -> tuple[int, Any]:
    """Send raw bytes on a connection of their own; return the status and the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=FIRST_ANSWER_WITHIN_S) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"not an HTTP answer: {error!r}") from error


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server politely; what of it still lives after a while is killed, by id."""
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family[1:]:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, 9)


def tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - LOG_TAIL_BYTES))
    return log.read().decode(errors="replace")
