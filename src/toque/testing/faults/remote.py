"""A node as its clients and its tormentor see it: one name, one life after the other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from toque.testing.faults.history import History, Line
from toque.testing.faults.node import Order, Word
from toque.testing.faults.scenario import Call

__all__ = ["LIVES_MAX", "PATIENCE_S", "Remote", "decode_word"]

PATIENCE_S = 5.0
"""How long a client waits for an answer: longer than anything is frozen or held, so that only what hangs meets it."""

LIVES_MAX = 60
"""After so many lives a node that does not get up is given up: a schedule ends three of them, and while the database
is away some more end at their start."""

REST_S = 0.05
"""Between two lives, as a supervisor would rest."""

STOPPED_LOOK_S, STOPPED_LOOKS = 0.005, 1000
"""Between two looks whether a process that is about to stop itself has, and how many: five seconds, and it is dead."""

PROCESSES = Path("/proc")

_encode = msgspec.json.Encoder().encode
decode_word = msgspec.json.Decoder(Word).decode


class Remote:
    """One node.

    Args:
        bear: begins the life with this number.
        lapse: ends its sessions.
    """

    def __init__(self, name: str, history: History, bear: Callable[[int], None], lapse: Callable[[], None]) -> None:
        self.name = name
        self.lives = 0
        self.is_ready = asyncio.Event()
        self.is_over = asyncio.Event()
        """Set when it was told to stop, and has."""
        self._history = history
        self._bear = bear
        self._lapse = lapse
        self._is_stopping = False
        self._pid = 0
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._asked: dict[int, asyncio.Future[Word | None]] = {}

    @property
    def life(self) -> str:
        return f"{self.name}.{self.lives}"

    @property
    def is_busy(self) -> bool:
        """Whether it may still do what it was asked for, also where nobody waits for the answer any more: a node that
        was frozen goes on with it."""
        return bool(self._asked)

    @property
    def is_given_up(self) -> bool:
        return self.lives >= LIVES_MAX

    def begin(self) -> None:
        """Begin the next life."""
        self.lives += 1
        self._bear(self.lives)

    async def speak(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear what the life that has just come says, until it ends."""
        self._pid, self._writer = pid, writer
        self._history.write(Line(what="born", life=self.life))
        with suppress(ConnectionError):
            while data := await reader.readline():
                self._hear(decode_word(data))
        self._history.write(Line(what="died", life=self.life))
        self._writer, self._pid = None, 0
        self.is_ready.clear()
        writer.close()
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        self._asked.clear()
        if self._is_stopping:
            self.is_over.set()
        elif not self.is_given_up:
            await asyncio.sleep(REST_S)
            if not self._is_stopping:
                self.begin()

    def _hear(self, word: Word) -> None:
        if word.is_ready:
            self.is_ready.set()
        elif word.freezes_s:
            self._wake_once_stopped(word.freezes_s)
            if word.lapses:
                self._lapse()
        elif (future := self._asked.pop(word.number, None)) is not None and not future.done():
            future.set_result(word)

    async def ask(self, call: Call) -> Word | None:
        """What it answers; None where nobody knows."""
        if self._writer is None:
            return None
        self._number += 1
        number = self._number
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_encode(Order(number, call)) + b"\n")
            async with asyncio.timeout(PATIENCE_S):
                return await self._asked[number]
        except TimeoutError:
            return None

    def stop(self) -> None:
        """Have it stop in order, for good."""
        self._is_stopping = True
        self.restart()

    def end(self) -> None:
        """Have no more of it."""
        self._is_stopping = True
        self.signal(signal.SIGKILL)

    def restart(self) -> None:
        """Have it stop in order; it comes again, as after a deployment."""
        if self._writer is not None:
            self._writer.write(_encode(Order()) + b"\n")

    def signal(self, number: signal.Signals) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def freeze(self, for_s: float) -> None:
        self.signal(signal.SIGSTOP)
        self.wake_in(for_s)

    def _wake_once_stopped(self, seconds: float, looks: int = STOPPED_LOOKS) -> None:
        """Wake it *seconds* after it has stopped itself, which it only announced. Where the machine had no time for
        it in between, the signal to go on would come before the one to stop, and it would sleep for ever, with
        whatever it holds."""
        if looks and not _is_stopped(self._pid):
            again = asyncio.get_running_loop().call_later
            again(STOPPED_LOOK_S, self._wake_once_stopped, seconds, looks - 1)
        else:
            self.wake_in(seconds)

    def wake_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.signal, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Whether the kernel has stopped the process (proc(5), "/proc/pid/stat"); on other systems it is believed to be."""
    if not pid or not PROCESSES.is_dir():
        return True
    try:
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(") ")[2].startswith("T")
    except OSError:
        return True
