"""One life of one node: the app in a process of its own, which does to itself what its schedule says.

It is told what to do over a Unix socket, a line of JSON each, and answers over it.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from toque.contract.conversion import enc_hook
from toque.contract.errors import Error
from toque.contract.principal import ANONYMOUS
from toque.settings import Secret
from toque.testing.faults.clock import Clock, set_clock
from toque.testing.faults.history import History, Line, What
from toque.testing.faults.runs import watch
from toque.testing.faults.scenario import Call, Scenario
from toque.testing.faults.schedule import AtStep
from toque.testing.faults.steps import arm
from toque.testing.harness import Harness

__all__ = ["Body", "Life", "Order", "Word"]


class Life(msgspec.Struct, frozen=True):
    """What a process has to know to become a node."""

    name: str
    socket: str
    history: str
    log: str
    database_url: str
    folder: str
    at_steps: tuple[AtStep, ...] = ()
    clock: Clock | None = None


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is told: to make a call, or to stop."""

    number: int = 0
    call: Call | None = None


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node says."""

    number: int = 0
    """Which call it is about."""
    answer: str = ""
    code: str = ""
    """Of its error; `crash` where there is no such code."""
    life: str = ""
    """Which life speaks, as soon as there is one, and its process."""
    pid: int = 0
    is_ready: bool = False
    """Whether the app has started."""
    freezes_s: float = 0.0
    """It stops itself now, and wants to be woken after that time."""
    lapses: bool = False
    """It wants to lose its sessions meanwhile."""


class _Line:
    """The node's end of its socket. Any thread may speak, also just before it kills the process."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode

    def say(self, word: Word) -> None:
        data = self._encode(word) + b"\n"
        with self._lock:
            while data:
                try:
                    data = data[self.socket.send(data) :]
                except BlockingIOError:
                    select.select([], [self.socket], [])


class _Faults:
    """What a life does to itself, and when."""

    def __init__(self, life: Life, line: _Line, history: History) -> None:
        self._life = life
        self._line = line
        self._history = history
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def write(self, line: Line) -> None:
        """Write down what this life did."""
        self._history.write(msgspec.structs.replace(line, life=self._life.name))

    def reached(self, step: str) -> None:
        with self._lock:
            self._counts[step] += 1
            count = self._counts[step]
        for fault in self._life.at_steps:
            if (fault.step, fault.nth) == (step, count):
                self._act(fault)

    def _act(self, fault: AtStep) -> None:
        self.write(Line(what="hurt", told=f"{fault.act} at '{fault.step}'"))
        if fault.act in ("freeze", "lapse"):
            self._line.say(Word(freezes_s=fault.for_s, lapses=fault.act == "lapse"))
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault.for_s:
            threading.Thread(target=self._end, args=(fault,), daemon=True).start()
        else:
            self._end(fault)

    def _end(self, fault: AtStep) -> None:
        time.sleep(fault.for_s)
        if fault.act == "exit":
            os._exit(1)
        os.kill(os.getpid(), signal.SIGKILL)


class Body:
    """What the lives of one scenario have in common: the app, loaded, with its runs watched and its steps armed.

    It is made once and becomes a life in each process that is forked from it, so it holds no thread and no file.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._faults: _Faults | None = None
        watch(scenario.app, scenario.identify, self._write)
        arm(scenario.steps, self._reached)
        # Whatever is loaded and kept for all when an app is compiled is there afterwards.
        scenario.app.serve(scenario.settings)

    def live(self, life: Life) -> None:
        """Be a node until told to stop, or until the schedule ends it."""
        line, history = _Line(life.socket), History(Path(life.history))
        line.say(Word(life=life.name, pid=os.getpid()))
        self._faults = _Faults(life, line, history)
        if life.clock is not None:
            set_clock(life.clock)
        asyncio.run(_Node(self._scenario, life, line, history).run())

    def _reached(self, step: str) -> None:
        if self._faults is not None:
            self._faults.reached(step)

    def _write(self, what: What, consumer: str, id: str, key: str) -> None:
        if self._faults is not None:
            self._faults.write(Line(what=what, consumer=consumer, id=id, key=key))


class _Node:
    def __init__(self, scenario: Scenario, life: Life, line: _Line, history: History) -> None:
        self._scenario = scenario
        self._life = life
        self._line = line
        self._history = history
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        settings = self._scenario.settings
        database = msgspec.structs.replace(settings.database, url=Secret(self._life.database_url))
        serving = self._scenario.app.serve(
            msgspec.structs.replace(settings, database=database, folder=Path(self._life.folder))
        )
        self._harness = Harness(serving)
        # Whoever finds that something was not done wants to know what everybody waits for.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell_tasks)
        await serving.start()
        self._line.say(Word(is_ready=True))
        reader, _ = await asyncio.open_unix_connection(sock=self._line.socket)
        decode = msgspec.json.Decoder(Order).decode
        while data := await reader.readline():
            order = decode(data)
            if order.call is None:
                break
            task = asyncio.create_task(self._call(order.number, order.call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        else:
            os._exit(1)  # Whoever told it what to do is gone.
        await asyncio.gather(*self._calls)
        await serving.stop()

    async def _call(self, number: int, call: Call) -> None:
        key = call.id if call.is_once else None
        principal = call.principal or ANONYMOUS
        try:
            answer = await self._harness.call(call.operation, principal=principal, idempotency_key=key, **call.inputs)
        except Error as error:
            self._line.say(Word(number, code=error.code))
        except Exception as error:
            import traceback

            traceback.print_exc()
            self._line.say(Word(number, code=f"crash: {type(error).__name__}: {error}"[:500]))
        else:
            self._line.say(Word(number, answer=msgspec.json.encode(answer, enc_hook=enc_hook).decode()))


def _tell_tasks() -> None:
    """Write to the log where every task stands."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=TASK_FRAMES)
        waits: Any = task.get_coro()
        while (inner := getattr(waits, "cr_await", None)) is not None:
            frame = getattr(inner, "cr_frame", None)
            if frame is not None:
                print(f"    awaits {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}", file=sys.stderr)
            waits = inner
    sys.stderr.flush()


TASK_FRAMES = 3
