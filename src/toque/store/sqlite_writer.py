"""All writes of SQLite: one connection, and group commit.

A commit with full sync costs one or more turns of the disk; sharing it is worth a factor of 75
(decision 0006). Commands take turns, each from its first statement to its end. When nobody is waiting
for a turn, or the batch is full or old, it is committed; callers hear of their command only then.

A thread does all that may wait: for other processes (BEGIN), for the disk (COMMIT), for statements that take long. What
is proven cheap runs in the loop while the thread stands idle with the transaction open: to hand it over and back costs
several times that.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting
from toque.store.prepared import Prepared
from toque.store.sqlite_batch import Act, Batch, Command, lost
from toque.store.sqlite_errors import is_interrupted
from toque.store.sqlite_plan import IN_LOOP, IN_THREAD, Budget
from toque.store.sqlite_readers import STOP_AGAIN_S

__all__ = ["Writer"]

# A batch waits for no one longer than this, or than its last COMMIT took, and holds no more than this: the work since
# the last commit is what a crash makes callers repeat. 2 ms is below one turn of a disk, so it costs next to nothing to
# commit that often; where commits take longer, half the time goes into the work.
BATCH_MAX = 64
BATCH_AGE_S = 0.002
# A command that has its turn and does not come back to it holds up those that have ended before it: after
# this they are committed without it.
PART_AFTER_S = 0.01
# So many callers go on in one turn of the loop, each for some 50 us: a whole batch of them would hold up everybody else
# for longer than a slow statement may.
TOLD_AT_ONCE = 16

Job = Callable[[], Callable[[], None] | None]
"""What the thread does; it returns what the loop is to do then."""


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
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._put = self._done = 0
        """How many jobs the thread was given, counted by the loop, and has done, counted by the thread: while both are
        the same, the connection is the loop's."""
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
        self._batch = Batch(await asyncio.to_thread(self._open_connection), self._tell)
        self._budget = Budget(self._batch.connection)
        # A daemon, so that a process that forgets to stop the store can end; nothing acknowledged is lost by
        # that.
        self._thread = threading.Thread(target=self._serve, name="toque-sqlite-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._give(self._batch.settle)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._batch.connection.close()

    async def take_turn(self, command: Command, context: Context = UNCALLED) -> None:
        """Come back when *command* is the one that writes. Raises: Overloaded when the line says so."""
        if self._is_taken:
            await self.waiting.turn(context)
        self._is_taken = True
        self._holder = command
        self._unsettled += 1
        if self._unsettled == 2:
            self._loop.call_later(PART_AFTER_S, self._part)

    async def run(self, command: Command, act: Act, prepared: Prepared | None = None) -> Any:
        """Run *act*, which is *prepared* where it is one statement, in *command*'s savepoint."""
        if (
            prepared is not None
            and prepared.lane == IN_LOOP
            and self._is_idle
            and self._batch.connection.in_transaction
        ):
            try:
                return self._run_here(command, act)
            except sqlite3.OperationalError as error:
                if not is_interrupted(error):
                    raise
                prepared.lane = IN_THREAD
                if not self._batch.connection.in_transaction:
                    raise lost() from error
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._give(partial(self._run, command, act, answer))
        return await answer

    def _run_here(self, command: Command, act: Act) -> Any:
        self._budget.begin()
        try:
            return self._batch.run(command, act)
        except BaseException:
            if not self._batch.connection.in_transaction:
                self._give(partial(self._batch.recover, command))
            raise
        finally:
            self._budget.end()

    async def commit(self, command: Command, done: asyncio.Future[None]) -> None:
        """Give up the turn, and come back when *command* is on the disk."""
        self.commands += 1
        if self._is_idle:
            self._batch.end(command)
        else:
            self._give(partial(self._batch.end, command))
        self._pass_turn()
        await done

    def roll_back(self, command: Command) -> None:
        """Stop what *command* runs, undo it and give up the turn."""
        self._stop(command)
        self._give(partial(self._batch.roll_back, command))
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
        if self._unsettled == 1:
            # It is now that somebody begins to wait. The first statement has waited itself, for the COMMIT before.
            self._since = monotonic()
        is_old = monotonic() - self._since > max(BATCH_AGE_S, min(self._batch.commit_s, PART_AFTER_S))
        if self._unsettled and (not self._is_taken or self._unsettled >= BATCH_MAX or is_old):
            self._give(self._batch.settle)
            self._unsettled = 0

    def _part(self) -> None:
        holder = self._holder
        if holder is not None and self._unsettled > 1:
            self._unsettled = 1
            self._give(partial(self._batch.part, holder))

    @property
    def _is_idle(self) -> bool:
        return self._put == self._done

    def _give(self, job: Job) -> None:
        """Have the thread do *job* after all that it was given before."""
        if self._is_idle:
            self._budget.leave_loop()
        self._put += 1
        self._jobs.put(job)

    # What follows runs in the thread.

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            answer = job()
            self._done += 1
            if answer is not None:
                self._loop.call_soon_threadsafe(answer)

    def _run(self, command: Command, act: Act, answer: asyncio.Future[Any]) -> Callable[[], None] | None:
        with self._guard:
            if command.is_abandoned:
                return None
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
        return partial(_answer, answer, result, failure)

    def _tell(self, commands: Sequence[Command], failure: BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._tell_some, commands, failure)

    def _tell_some(self, commands: Sequence[Command], failure: BaseException | None) -> None:
        for command in commands[:TOLD_AT_ONCE]:
            command.done(failure)
        if len(commands) > TOLD_AT_ONCE:
            self._loop.call_soon(self._tell_some, commands[TOLD_AT_ONCE:], failure)


def _answer(answer: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
