"""What an operation asks for by type to have jobs done: they exist if, and only if, the command is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Literal, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

import msgspec

from toque.log.append import uuid7s
from toque.messages.behalf import headers_of
from toque.messages.jobs import status
from toque.messages.jobs.book import Book
from toque.messages.jobs.inserting import INSERT, Batch
from toque.messages.jobs.status import JobStatus
from toque.messages.outbox import KEY_CHARS_MAX, Bell
from toque.store.database import transaction_of
from toque.store.transaction import READS

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["BATCH_MAX", "How", "Jobs"]

BATCH_MAX = 10_000
"""Jobs that are enqueued at once: some megabytes of SQL, and a tenth of a second of SQLite's only writer. Who has more
enqueues them in several commands."""

PRIORITY_MAX = 32_767
"""The largest number that the column holds, on either side of 0."""

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
Job = Callable[..., Any]
# What a job takes first is its inputs, and then what it asks for.
Job1 = Callable[Concatenate[A, ...], Any]
Job2 = Callable[Concatenate[A, B, ...], Any]
Job3 = Callable[Concatenate[A, B, C, ...], Any]
Job4 = Callable[Concatenate[A, B, C, D, ...], Any]
Job5 = Callable[Concatenate[A, B, C, D, E, ...], Any]
Job6 = Callable[Concatenate[A, B, C, D, E, F, ...], Any]


class How(TypedDict, total=False):
    """When, in which order, and whether at all."""

    delay: float | timedelta
    """It begins no earlier than so long (in seconds) from the commit on, by the database's clock."""
    at: datetime
    """It begins no earlier than this; a time with its zone."""
    priority: int
    """The higher goes first; the job's own, 0, unless given."""
    key: str | UUID | int
    """Jobs of one queue with one key run one after the other, in the order in which they were enqueued; or as the
    queue's limits per key say (`app.queue`)."""
    unique: str
    """As long as one of this job with the same text is to be done, another one is not taken."""
    unique_s: float
    """And for so many seconds after it was enqueued, whatever became of it."""
    unique_until: Literal["begun", "ended"]
    """Whether the text is free as soon as the job has begun; `ended` unless given."""


class Jobs:
    """Enqueues jobs, together with what the command changes."""

    __slots__ = ("_bell", "_book", "_context", "_is_used", "_transaction")

    def __init__(self, context: Context, book: Book, bell: Bell) -> None:
        assert context.database is not None, "the transact policy stands around whoever asks for it"
        self._context = context
        self._transaction = transaction_of(context.database)
        self._book = book
        self._bell = bell
        self._is_used = False

    @overload
    def enqueue(self, job: Job, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(self, job: Job1[A], a: A, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(self, job: Job2[A, B], a: A, b: B, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(self, job: Job3[A, B, C], a: A, b: B, c: C, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(self, job: Job4[A, B, C, D], a: A, b: B, c: C, d: D, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(self, job: Job5[A, B, C, D, E], a: A, b: B, c: C, d: D, e: E, /, **how: Unpack[How]) -> UUID: ...
    @overload
    def enqueue(
        self, job: Job6[A, B, C, D, E, F], a: A, b: B, c: C, d: D, e: E, f: F, /, **how: Unpack[How]
    ) -> UUID: ...
    def enqueue(self, job: Job, /, *inputs: Any, **how: Unpack[How]) -> UUID:
        """Have *job* done with *inputs*, by whichever process is free; returns its id.

        The inputs come in the order of the job's parameters, and are checked now. Where `unique` keeps it from being
        taken, nothing has this id.

        Raises: TypeError where it is no job of this app or does not take these inputs; ValueError where they are too
            large, or *how* says what cannot be.
        """
        return self._enqueue(job, [inputs], how)[0]

    @overload
    def enqueue_many(self, job: Job1[A], inputs: Iterable[tuple[A]], /, **how: Unpack[How]) -> list[UUID]: ...
    @overload
    def enqueue_many(self, job: Job2[A, B], inputs: Iterable[tuple[A, B]], /, **how: Unpack[How]) -> list[UUID]: ...
    @overload
    def enqueue_many(
        self, job: Job3[A, B, C], inputs: Iterable[tuple[A, B, C]], /, **how: Unpack[How]
    ) -> list[UUID]: ...
    @overload
    def enqueue_many(
        self, job: Job4[A, B, C, D], inputs: Iterable[tuple[A, B, C, D]], /, **how: Unpack[How]
    ) -> list[UUID]: ...
    def enqueue_many(self, job: Job, inputs: Iterable[tuple[Any, ...]], /, **how: Unpack[How]) -> list[UUID]:
        """Have *job* done once for each of *inputs*, in one statement; returns their ids in the same order.

        Raises: as `enqueue` does, and ValueError for more than `BATCH_MAX`.
        """
        if "unique" in how:
            raise ValueError("unique= is for one job; enqueue those that need it one by one")
        rows = list(inputs)
        if len(rows) > BATCH_MAX:
            raise ValueError(f"at most {BATCH_MAX} jobs are enqueued at once, and these are {len(rows)}")
        return self._enqueue(job, rows, how) if rows else []

    async def status(self, id: UUID) -> JobStatus | None:
        """What is known of the job *id*; None where it was never committed, or has ended and left nothing behind."""
        return await status.read(self._transaction, self._book.store.dialect_name, id)

    async def cancel(self, id: UUID) -> bool:
        """Have the job *id* not done, or stopped where it runs: whether there was anything to cancel.

        One that runs is stopped as at its deadline: what it did in its transaction is undone.
        """
        if not self._transaction.is_command:
            raise PermissionError(READS)
        found = await status.cancel(self._transaction, self._book.store.dialect_name, id)
        self._ring_after()
        return found

    def _ring_after(self) -> None:
        if not self._is_used:
            self._is_used = True
            self._transaction.after.append(self._bell.ring)

    def _enqueue(self, job: Job, inputs: Sequence[Sequence[Any]], how: How) -> list[UUID]:
        if not self._transaction.is_command:
            raise PermissionError(READS)
        compiled = self._book.find(job)
        headers = msgspec.json.encode(headers_of(self._context)).decode()
        data = [compiled.encode(values) for values in inputs]
        key, share = self._book.place_of(compiled.rules.queue, _text(str(how.get("key", "")), "key"))
        batch = Batch(
            name=compiled.name,
            queue=compiled.rules.queue,
            priority=_priority(how.get("priority", compiled.rules.priority)),
            key=key,
            share=share,
            headers=headers,
            ids=uuid7s(len(data)),
            data=data,
            delay_s=_seconds(how.get("delay", 0.0)),
            at=_moment(how),
            unique=_text(how["unique"], "unique") if "unique" in how else None,
            unique_s=how.get("unique_s", 0.0),
            is_freed=how.get("unique_until") == "begun",
        )
        self._ring_after()
        self._transaction.attached.append((INSERT, (batch,)))
        return list(batch.ids)


def _seconds(delay: float | timedelta) -> float:
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)


def _moment(how: How) -> float | None:
    if "at" not in how:
        return None
    if "delay" in how:
        raise ValueError("delay= and at= both say when; give one of them")
    at = how["at"]
    if at.tzinfo is None:
        raise ValueError(f"at= is a time with its zone, got {at.isoformat()}; use datetime.now(UTC) or a ZoneInfo")
    return at.timestamp()


def _priority(priority: int) -> int:
    if abs(priority) > PRIORITY_MAX:
        raise ValueError(f"a priority is between -{PRIORITY_MAX} and {PRIORITY_MAX}, got {priority}")
    return priority


def _text(text: str, what: str) -> str:
    if "\0" in text:
        raise ValueError(f"{what}= has no NUL, got {text[:60]!r}")
    if len(text) > KEY_CHARS_MAX:
        raise ValueError(f"{what}= has at most {KEY_CHARS_MAX} characters, and this one has {len(text)}")
    return text
