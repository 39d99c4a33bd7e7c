"""The writer thread's half of group commit: one connection, one transaction for many commands.

Each command has its own SAVEPOINT inside the transaction of its batch, so that it rolls back alone. What it
ran and what came of it is noted until the COMMIT, because SQLite rolls back the *whole* transaction when a
writing statement is interrupted or the disk is full (https://www.sqlite.org/lang_transaction.html, section
3): the commands of the batch that had ended are then run again from their notes, each in a transaction of its
own, and count only if everything comes out as before. Nobody was told of them yet.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from toque.contract.errors import Unavailable
from toque.store.sqlite_errors import is_busy

__all__ = ["Act", "Batch", "Command", "Lost"]

Act = Callable[[sqlite3.Connection], Any]
Tell = Callable[[Sequence["Command"], BaseException | None], None]

# How long another process may hold the file before a command gives up: SQLite's own customary 5 s.
BUSY_TIMEOUT_S = 5.0


class Command:
    """One command's state, written by the writer thread; `is_abandoned` is the loop's word to it."""

    __slots__ = ("done", "has_begun", "is_abandoned", "is_lost", "is_repeatable", "notes")

    def __init__(self, done: Callable[[BaseException | None], None]) -> None:
        self.done = done
        """Called in the loop when it is committed, or never will be."""
        self.notes: list[tuple[Act, Any]] = []
        self.has_begun = False
        self.is_abandoned = False
        self.is_lost = False
        self.is_repeatable = True


class Batch:
    """The open transaction and the commands in it. One thread at a time calls it.

    Args:
        tell: hears which commands are committed, or why they never will be.
    """

    def __init__(self, connection: sqlite3.Connection, tell: Tell) -> None:
        self.connection = connection
        self.commits = 0
        self.commit_s = 0.0
        """How long the last COMMIT took."""
        self._tell = tell
        self._ended: list[Command] = []

    def run(self, command: Command, act: Act) -> Any:
        """Run one statement of *command*, inside its savepoint."""
        if command.is_lost:
            raise lost()
        self._enter(command)
        result = act(self.connection)
        command.notes.append((act, result))
        return result

    def recover(self, command: Command) -> None:
        """After an error in *command*: if SQLite has rolled back the whole transaction, run the others
        again."""
        if command.has_begun and not self.connection.in_transaction:
            command.is_lost = True
            ended, self._ended = self._ended, []
            self._repeat(ended)

    def end(self, command: Command) -> None:
        """Keep what *command* did, to be committed with its batch."""
        if not command.is_lost:
            self._close_savepoint(command, "RELEASE command")
        if command.is_lost:
            self._tell([command], lost())
        else:
            self._ended.append(command)

    def roll_back(self, command: Command) -> None:
        """Undo what *command* did, and nothing else."""
        if command.has_begun and not command.is_lost:
            self._close_savepoint(command, "ROLLBACK TO command", "RELEASE command")

    def _close_savepoint(self, command: Command, *statements: str) -> None:
        try:
            for statement in statements:
                self.connection.execute(statement)
        except sqlite3.Error:
            self._roll_back_all()
            self.recover(command)

    def settle(self) -> None:
        """Commit what has ended, and tell everybody in it."""
        if not self.connection.in_transaction:
            return
        ended, self._ended = self._ended, []
        began = time.monotonic()
        try:
            self.connection.execute("COMMIT" if ended else "ROLLBACK")
            self.commit_s = time.monotonic() - began
        except sqlite3.Error as error:
            self._roll_back_all()
            # A deferred constraint, say, which one of them broke: each for itself, so that only that one
            # fails.
            if len(ended) == 1:
                self._tell(ended, error)
            else:
                self._repeat(ended)
            return
        self.commits += bool(ended)
        if ended:
            self._tell(ended, None)

    def part(self, current: Command) -> None:
        """Commit what has ended although *current* still runs: what it did so far moves into a new
        transaction."""
        if not self._ended or current.is_lost or not current.is_repeatable:
            return
        self.roll_back(current)
        self.settle()
        current.has_begun = False
        notes, current.notes = current.notes, []
        try:
            for act, result in notes:
                _expect(result, self.run(current, act))
        except BaseException:
            current.is_lost = True
            self._roll_back_all()

    def _enter(self, command: Command) -> None:
        if not self.connection.in_transaction:
            self._begin(command)
        if not command.has_begun:
            self.connection.execute("SAVEPOINT command")
            command.has_begun = True

    def _begin(self, command: Command) -> None:
        until = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                # SQLite itself has waited a little (sqlite_connection.WRITER_BUSY_MS).
                if not is_busy(error) or command.is_abandoned or time.monotonic() > until:
                    raise

    def _repeat(self, commands: list[Command]) -> None:
        for command in commands:
            try:
                self._repeat_one(command)
            except BaseException as error:
                self._roll_back_all()
                self._tell([command], error)
            else:
                self.commits += 1
                self._tell([command], None)

    def _repeat_one(self, command: Command) -> None:
        if not command.is_repeatable:
            raise lost()
        self._begin(command)
        for act, result in command.notes:
            _expect(result, act(self.connection))
        self.connection.execute("COMMIT")

    def _roll_back_all(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def _expect(before: Any, now: Any) -> None:
    if before != now:
        raise lost()


class Lost(Unavailable):
    """SQLite has undone the command together with others; the command itself did nothing wrong."""


def lost() -> Lost:
    return Lost("The transaction was rolled back by the database; nothing of it was kept.", retry_after_s=0)
