"""All writes of SQLite: one thread, and group commit.

A commit with full sync costs one or more turns of the disk; sharing it is worth a factor of 75
(data_formats.md 1.3). Commands take turns, each from its first statement to its end. When nobody is waiting
for a turn, or the batch is full or old, the thread commits; callers hear of their command only then.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting
from toque.store.sqlite_batch import Act, Batch, Command
from toque.store.sqlite_readers import STOP_AGAIN_S

__all__ = ["Writer"]

# A batch waits for no one longer than this, and holds no more than this: the work since the last commit is
# what a crash makes callers repeat. 2 ms is below one turn of a disk, so it costs next to nothing to commit
# that often.
BATCH_MAX = 64
BATCH_AGE_S = 0.002
# A command that has its turn and does not come back to it holds up those that have ended before it: after
# this they are committed without it.
PART_AFTER_S = 0.01


class Writer:
    """The loop's half: who has the turn, who waits, and what the thread is told to do."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection], waiting_max: int) -> None:
        self.commands = 0
        self._open_connection = open_connection
        self.waiting: Waiting[None] = Waiting(
            "turns to write", 1, waiting_max, give_back=lambda _: self._pass_turn(), in_use=lambda: int(self._is_taken)
        )
        self._holder: Command | None = None
        self._is_taken = False
        self._unsettled = 0
        self._since = 0.0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Guards `_running` and `Command.is_abandoned`: an interrupt must never hit another command, nor a
        # COMMIT.
        self._guard = threading.Lock()
        self._running: Command | None = None

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._batch.commits

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._batch = Batch(await asyncio.to_thread(self._open_connection))
        # A daemon, so that a process that forgets to stop the store can end; nothing acknowledged is lost by
        # that.
        self._thread = threading.Thread(target=self._serve, name="toque-sqlite-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._jobs.put(self._batch.settle)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._batch.connection.close()

    async def take_turn(self, command: Command, context: Context = UNCALLED) -> None:
        """Come back when *command* is the one that writes. Raises: Overloaded when the line says so."""
        if self._is_taken:
            await self.waiting.turn(context)
        self._is_taken = True
        self._holder = command
        if not self._unsettled:
            self._since = monotonic()
        self._unsettled += 1
        if self._unsettled == 2:
            self._loop.call_later(PART_AFTER_S, self._part)

    async def run(self, command: Command, act: Act) -> Any:
        """Run *act* in the thread, in *command*'s savepoint."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(partial(self._run, command, act, answer))
        return await answer

    async def commit(self, command: Command, done: asyncio.Future[None]) -> None:
        """Give up the turn, and come back when *command* is on the disk."""
        self.commands += 1
        self._jobs.put(partial(self._batch.end, command))
        self._pass_turn()
        await done

    def roll_back(self, command: Command) -> None:
        """Stop what *command* runs, undo it and give up the turn."""
        self._stop(command)
        self._jobs.put(partial(self._batch.roll_back, command))
        self._pass_turn()

    def _stop(self, command: Command) -> None:
        """Interrupt what *command* runs, again until it is over: SQLite may be just about to start it."""
        with self._guard:
            command.is_abandoned = True
            if self._running is not command:
                return
            self._batch.connection.interrupt()
        self._loop.call_later(STOP_AGAIN_S, self._stop, command)

    def _pass_turn(self) -> None:
        """Let the next one write, and commit if it is time to: its statements queue up behind the COMMIT."""
        self._holder = None
        self._is_taken = self.waiting.hand_over(None)
        is_old = monotonic() - self._since > BATCH_AGE_S
        if self._unsettled and (not self._is_taken or self._unsettled >= BATCH_MAX or is_old):
            self._jobs.put(self._batch.settle)
            self._unsettled = 0

    def _part(self) -> None:
        holder = self._holder
        if holder is not None and self._unsettled > 1:
            self._unsettled = 1
            self._jobs.put(partial(self._batch.part, holder))

    # What follows runs in the thread.

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _run(self, command: Command, act: Act, answer: asyncio.Future[Any]) -> None:
        with self._guard:
            if command.is_abandoned:
                return
            self._running = command
        result, failure = None, None
        try:
            result = self._batch.run(command, act)
        except BaseException as error:
            failure = error
        with self._guard:
            self._running = None
        if failure is not None:
            self._batch.recover(command)
        self._loop.call_soon_threadsafe(_answer, answer, result, failure)


def _answer(answer: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
