"""One event through the plan of one handler, and what came of it."""

from __future__ import annotations

import asyncio
import logging
from time import time
from traceback import extract_tb
from typing import Any

import msgspec

from toque.call.context import Context
from toque.call.delivery import Delivery
from toque.call.observation import code_of
from toque.call.plan import Plan
from toque.contract.conversion import dec_hook
from toque.contract.errors import Overloaded, Unavailable
from toque.contract.event import Event
from toque.log.entry import Entry
from toque.messages import versions
from toque.messages.behalf import TRACEPARENT, principal_of
from toque.messages.failures import kept, words_of
from toque.messages.inbox import Taken
from toque.messages.parked import Trouble
from toque.store.database import transaction_of

__all__ = ["ABANDONED", "STUCK_S", "UNKNOWN", "Handling", "Lacking", "abandon"]

log = logging.getLogger("toque.messages")

UNKNOWN = "unknown"
"""The code of an event that this release cannot read."""

STUCK_S = 2.0
"""How long after its deadline a handler or a job may go on: it was told to stop, and has still to give back what it
holds."""

ABANDONED = "it took no notice of its deadline, and was abandoned"


class Lacking(msgspec.Struct, frozen=True):
    """The app itself had no room, or no database: not the event's fault, nor the handler's."""

    error: BaseException


class Handling:
    """One handler. Its plan makes the effects; nothing here is undone or done twice because of what it raises."""

    def __init__(self, plan: Plan) -> None:
        event = plan.operation.event
        assert event is not None, "a handler is on an event"
        self.plan = plan
        self.event: type[Event] = event
        self._decode = msgspec.json.Decoder(event, dec_hook=dec_hook).decode

    async def run(self, entry: Entry, consumer: str, attempt: int) -> Trouble | Lacking | None:
        """Handle *entry*; None where it is handled, also by somebody before.

        Raises: CancelledError when whoever waits for it is; it has ended then, and is not kept unless it was through.
        """
        try:
            event = self.read(entry)
        except Exception as error:
            return trouble(error, attempt, UNKNOWN)
        context = self._context(entry, consumer, attempt)
        task = asyncio.create_task(self.plan.call(context, (event,)), name=f"toque {consumer}")
        try:
            await asyncio.wait({task}, timeout=self.plan.deadline_s + STUCK_S)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=STUCK_S)
            await abandon(task, context)
            raise
        if not task.done():
            task.cancel()
            await abandon(task, context)
            return Trouble(time(), attempt, "deadline_exceeded", ABANDONED)
        return _outcome(task, attempt)

    def read(self, entry: Entry) -> Event:
        """The event in *entry*, as the present version has it. Raises: anything, where it cannot be read."""
        if entry.version == self.event.__version__:
            return self._decode(entry.data)
        return versions.read(self.event, entry.version, entry.data)

    def _context(self, entry: Entry, consumer: str, attempt: int) -> Context:
        context = Context.within(self.plan.operation.name, self.plan.deadline_s, principal_of(entry.headers))
        context.traceparent = entry.headers.get(TRACEPARENT)
        context.delivery = Delivery(consumer=consumer, id=str(entry.id), key=entry.key, at=entry.at, attempt=attempt)
        return context


def trouble(error: BaseException, attempt: int, code: str = "") -> Trouble:
    """*error* as it is kept: its class, its words, and where it was raised."""
    frames = extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return Trouble(time(), attempt, code or code_of(error), f"{type(error).__name__}: {words_of(error)}{kept(where)}")


def _outcome(task: asyncio.Task[Any], attempt: int) -> Trouble | Lacking | None:
    if task.cancelled():
        return Trouble(time(), attempt, "cancelled", "it cancelled itself")
    error = task.exception()
    if error is None or isinstance(error, Taken):
        return None
    return Lacking(error) if _is_lack(error) else trouble(error, attempt)


def _is_lack(error: BaseException) -> bool:
    """Whether the app's own gate or database raised it. What another service lacks is an attempt that failed."""
    if not isinstance(error, Overloaded | Unavailable) or error.__traceback__ is None:
        return False
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return str(frame.tb_frame.f_globals.get("__name__")).startswith(("toque.store.", "toque.call."))


_abandoned: set[asyncio.Task[Any]] = set()


async def abandon(task: asyncio.Task[Any], context: Context) -> None:
    """Let go of a handler or a job that does not end: it keeps its task, and loses its transaction."""
    if task.done():
        return
    _abandoned.add(task)
    task.add_done_callback(_forget)
    log.error("%s takes no notice of being stopped; what it still does is not kept", context.operation)
    if context.database is not None:
        transaction = transaction_of(context.database)
        transaction.give_up()
        await transaction.close(TimeoutError("abandoned"))


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    # Somebody has to look, or asyncio says that nobody did.
    if not task.cancelled():
        task.exception()
