"""Durable steps: what a job did, step by step, is recorded once, so that it goes on where it was.

```python
@app.job()
async def order(id: UUID, steps: Steps) -> None:
    payment = await steps.run("charge", charge, id)
    await steps.sleep("until it is cooked", minutes=20)
    await steps.run("deliver", deliver, id, payment)
```

A job that begins anew runs from its first line, and each step that was recorded gives what it gave then. Steps are
known by their number and name, so a job must take the same ones in the same order; where it does not, it fails loudly.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, overload
from uuid import UUID

import msgspec

from toque.call.context import Context
from toque.contract.job import GiveUp
from toque.messages.jobs.book import Book
from toque.messages.jobs.recording import RECORD
from toque.messages.jobs.statements import STATEMENTS
from toque.store.database import Database, transaction_of

if TYPE_CHECKING:
    from toque.call.delivery import Delivery

__all__ = ["Steps", "Suspended"]

STEPS_MAX = 1000
"""Steps of one job: all of them are read when it begins anew, a megabyte or so."""

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


class Suspended(CancelledError):
    """The job goes on later; meanwhile it holds no worker. Like every cancellation it passes by `except Exception`, and
    is nobody's failure."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s = pause_s


class Steps:
    """What a job asks for by type to take durable steps."""

    __slots__ = ("_book", "_context", "_count", "_recorded")

    def __init__(self, context: Context, book: Book) -> None:
        self._context = context
        self._book = book
        self._count = 0
        self._recorded: dict[int, tuple[str, str | None]] | None = None

    @overload
    async def run(self, name: str, step: Callable[..., Awaitable[T]], /) -> T: ...
    @overload
    async def run(self, name: str, step: Callable[Concatenate[A, ...], Awaitable[T]], a: A, /) -> T: ...
    @overload
    async def run(self, name: str, step: Callable[Concatenate[A, B, ...], Awaitable[T]], a: A, b: B, /) -> T: ...
    @overload
    async def run(
        self, name: str, step: Callable[Concatenate[A, B, C, ...], Awaitable[T]], a: A, b: B, c: C, /
    ) -> T: ...
    @overload
    async def run(
        self, name: str, step: Callable[Concatenate[A, B, C, D, ...], Awaitable[T]], a: A, b: B, c: C, d: D, /
    ) -> T: ...
    async def run(self, name: str, step: Callable[..., Awaitable[Any]], /, *inputs: Any) -> Any:
        """What *step* gives for *inputs*, or gave when it was first run for this job.

        It takes its inputs first and asks for what it needs by type, as a job does; an app need not know it before. One
        that asks for Database is one transaction, with its record: it is done once. What it does elsewhere may be done
        again after a crash, with the same `Delivery.idempotency_key`.

        Raises: GiveUp where the job took another step at this place before.
        """
        number = await self._next()
        compiled = self._book.step(step)
        if number in self._record_of:
            return compiled.read_result(self._known(number, name))
        arguments = compiled.arguments(compiled.encode(inputs))
        delivery = msgspec.structs.replace(self._delivery, step=number, step_name=name)
        left_s = min(compiled.plan.deadline_s, self._context.remaining_s)
        context = Context.within(compiled.name, left_s, self._context.principal)
        context.known_trace, context.delivery = self._context.trace, delivery
        value = compiled.shaped(await compiled.plan.call(context, arguments))
        if not compiled.is_transaction:
            await self._keep(number, name, compiled.result(value))
        return value

    async def sleep(self, name: str, delay: float | timedelta, /) -> None:
        """Go on after *delay* (in seconds) from the first time on, whatever happens meanwhile to the process."""
        number = await self._next()
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if number in self._record_of:
            until = float(self._known(number, name) or 0)
        else:
            until = time.time() + seconds
            await self._keep(number, name, repr(until))
        if (left := until - time.time()) > 0:
            raise Suspended(left)

    async def _next(self) -> int:
        if self._recorded is None:
            self._recorded = await self._read()
        if self._count >= STEPS_MAX:
            raise GiveUp(f"a job takes at most {STEPS_MAX} steps; let one do for many, or enqueue others")
        self._count += 1
        return self._count

    @property
    def _record_of(self) -> dict[int, tuple[str, str | None]]:
        assert self._recorded is not None, "they were read before the first step"
        return self._recorded

    @property
    def _delivery(self) -> Delivery:
        if self._context.delivery is None:
            raise RuntimeError("steps are recorded for a job that runs as one; enqueue it")
        return self._context.delivery

    def _known(self, number: int, name: str) -> str | None:
        before, result = self._record_of[number]
        if before != name:
            raise GiveUp(
                f"step {number} was {before!r} when this job began, and is {name!r} now; "
                "give a job that takes other steps another name, and let those under way end under the old one"
            )
        return result

    async def _read(self) -> dict[int, tuple[str, str | None]]:
        statement, id = STATEMENTS[self._book.store.dialect_name].steps, self._delivery.id

        async def run(database: Database) -> Sequence[Any]:
            rows: list[Any] = await transaction_of(database).fetch(statement, (id,), STEPS_MAX, list)
            return rows

        return {number: (name, result) for number, name, result in await self._book.store.query(run)}

    async def _keep(self, number: int, name: str, result: str) -> None:
        row = (UUID(self._delivery.id), self._delivery.fence, number, name, result)

        async def run(database: Database) -> None:
            transaction_of(database).attached.append((RECORD, row))

        await self._book.store.command(run)
