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

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, TypeVar, overload
from uuid import UUID

import msgspec

from toque.call.context import Context
from toque.contract.event import Event
from toque.contract.job import GiveUp
from toque.log.reader import reader_of
from toque.messages import versions
from toque.messages.dialects import both
from toque.messages.jobs.book import Book
from toque.messages.jobs.recording import RECORD
from toque.messages.jobs.statements import STATEMENTS
from toque.messages.jobs.waits import BEGIN, WAITS
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look

if TYPE_CHECKING:
    from toque.call.delivery import Delivery

__all__ = ["FOR_EVER_S", "Steps", "Suspended"]

STEPS_MAX = 1000
"""Steps of one job: all of them are read when it begins anew, a megabyte or so."""

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E", bound=Event)
T = TypeVar("T")

FOR_EVER_S = 3_650 * 86_400.0
"""Ten years: longer than any release that knows the job."""

_NOW = both("SELECT {now}")


class Suspended(CancelledError):
    """The job goes on later; meanwhile it holds no worker. Like every cancellation it passes by `except Exception`, and
    is nobody's failure."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s = pause_s


class _Recorded(NamedTuple):
    """A step, as it is kept."""

    name: str
    result: str | None
    """JSON; None of a wait that is not over."""
    version: int | None
    """Of the event that a wait found."""
    left_s: float | None
    """How long a wait may still take."""


class Steps:
    """What a job asks for by type to take durable steps."""

    __slots__ = ("_book", "_context", "_count", "_recorded")

    def __init__(self, context: Context, book: Book) -> None:
        self._context = context
        self._book = book
        self._count = 0
        self._recorded: dict[int, _Recorded] | None = None

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
        seconds = _seconds(delay)
        now = await self._now()
        if number in self._record_of:
            until = float(self._known(number, name) or 0)
        else:
            until = now + seconds
            await self._keep(number, name, repr(until))
        if (left := until - now) > 0:
            raise Suspended(left)

    async def wait(
        self, name: str, event: type[E], /, *, key: str | UUID | int = "", timeout: float | timedelta | None = None
    ) -> E | None:
        """The first *event* with this *key* that was published since the job was enqueued, and that no other wait of
        this job has had; it comes, whenever it does, also where the job has looked in vain. None after *timeout* (in
        seconds) from the first time on; without one it is waited for as long as the job is there.

        It holds no worker meanwhile, and goes on soon after the event's commit. Times are those of the database.
        """
        number = await self._next()
        if number not in self._record_of:
            await self._begin_waiting(number, name, event.type_name(), str(key), _seconds(timeout))
            self._recorded = await self._read()
        result = self._known(number, name)
        if result is None:
            result = await self._found(number, name)
        version = self._record_of[number].version
        return None if version is None else versions.read(event, version, result)

    async def _begin_waiting(self, number: int, name: str, type: str, key: str, seconds: float) -> None:
        place = msgspec.json.encode(await reader_of(self._book.store).now()).decode()
        row = (UUID(self._delivery.id), self._delivery.fence, number, name, type, key, seconds, place)

        async def run(database: Database) -> None:
            transaction_of(database).attached.append((BEGIN, row))

        await self._book.store.command(run)

    async def _found(self, number: int, name: str) -> str:
        """What the wait came to. Raises: Suspended where it is not over."""
        statements, id = WAITS[self._book.store.dialect_name], self._delivery.id
        for statement in (statements.find, statements.give_up):
            if await execute(self._book.store, statement, id, number):
                break
        self._recorded = await self._read()
        # Whoever else ended it was first.
        result = self._known(number, name)
        if result is None:
            raise Suspended(self._record_of[number].left_s or 0.0)
        return result

    async def _now(self) -> float:
        """The time, by the database's clock: the process that goes on may be another one, on another machine."""
        now: float = (await look(self._book.store, _NOW[self._book.store.dialect_name]))[0][0]
        return now

    async def _next(self) -> int:
        if self._recorded is None:
            self._recorded = await self._read()
        if self._count >= STEPS_MAX:
            raise GiveUp(f"a job takes at most {STEPS_MAX} steps; let one do for many, or enqueue others")
        self._count += 1
        return self._count

    @property
    def _record_of(self) -> dict[int, _Recorded]:
        assert self._recorded is not None, "they were read before the first step"
        return self._recorded

    @property
    def _delivery(self) -> Delivery:
        if self._context.delivery is None:
            raise RuntimeError("steps are recorded for a job that runs as one; enqueue it")
        return self._context.delivery

    def _known(self, number: int, name: str) -> str | None:
        before, result, _, _ = self._record_of[number]
        if before != name:
            raise GiveUp(
                f"step {number} was {before!r} when this job began, and is {name!r} now; "
                "give a job that takes other steps another name, and let those under way end under the old one"
            )
        return result

    async def _read(self) -> dict[int, _Recorded]:
        statement, id = STATEMENTS[self._book.store.dialect_name].steps, self._delivery.id

        async def run(database: Database) -> Sequence[Any]:
            rows: list[Any] = await transaction_of(database).fetch(statement, (id,), STEPS_MAX, list)
            return rows

        return {number: _Recorded(*rest) for number, *rest in await self._book.store.query(run)}

    async def _keep(self, number: int, name: str, result: str) -> None:
        row = (UUID(self._delivery.id), self._delivery.fence, number, name, result)

        async def run(database: Database) -> None:
            transaction_of(database).attached.append((RECORD, row))

        await self._book.store.command(run)


def _seconds(delay: float | timedelta | None) -> float:
    if delay is None:
        return FOR_EVER_S
    return min(delay.total_seconds() if isinstance(delay, timedelta) else float(delay), FOR_EVER_S)
