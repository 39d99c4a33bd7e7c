"""What an operation asks for by type to have jobs done: they exist if, and only if, the command is committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, Unpack, overload
from uuid import UUID

import msgspec

from toque.log.append import uuid7s
from toque.messages.behalf import headers_of
from toque.messages.jobs import status
from toque.messages.jobs.book import Book
from toque.messages.jobs.how import How, options
from toque.messages.jobs.inserting import INSERT, Batch
from toque.messages.jobs.status import JobStatus
from toque.messages.outbox import Bell
from toque.store.database import transaction_of
from toque.store.transaction import READS

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["BATCH_MAX", "Jobs"]

BATCH_MAX = 10_000
"""Jobs that are enqueued at once: some megabytes of SQL, and a tenth of a second of SQLite's only writer. Who has more
enqueues them in several commands."""

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

        Raises: TypeError where it is no job of this app, does not take these inputs, or *how* is of another type;
            ValueError where they are too large, or *how* says what cannot be.
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

    async def follow(self, id: UUID) -> AsyncIterator[JobStatus]:
        """What is known of the job *id*: now, and again whenever that has changed, until it is over.

        Nothing comes where `status` is None, as of a job that this command has not committed yet. It is looked at
        beside the transaction of whoever asks, and no connection is held in between.
        """
        async for found in status.follow(self._book.store, id):
            yield found

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
        given, rest = options(how, compiled.rules.priority)
        key, share = self._book.place_of(compiled.rules.queue, given)
        batch = Batch(
            name=compiled.name,
            queue=compiled.rules.queue,
            key=key,
            share=share,
            headers=headers,
            ids=uuid7s(len(data)),
            data=data,
            **rest,
        )
        self._ring_after()
        self._transaction.attached.append((INSERT, (batch,)))
        return list(batch.ids)
