"""An app's messages in one process: its tail of the log, and what runs because of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from toque.call.counts import Count
from toque.contract.errors import Unavailable
from toque.log.reader import Reader, reader_of
from toque.log.tail import Tail
from toque.messages.outbox import Bell
from toque.store.store import Store

if TYPE_CHECKING:
    from toque.messages.consumers import Consumers

__all__ = ["Messages", "Service"]

log = logging.getLogger("toque.messages")


class Service(Protocol):
    """Something that works on messages from start to stop."""

    async def start(self) -> None:
        """Begin, and go on by itself."""

    async def stop(self) -> None:
        """Take nothing new, let what runs end (or be taken over by others), and come back."""


class Messages:
    """The log of one store, as one process uses it.

    Args:
        bell: rung by the outboxes of this process.
        tail: follows the store's log, started and stopped with this.
        is_working: whether handlers and jobs run in this process.
    """

    def __init__(self, store: Store, bell: Bell, tail: Tail, *, is_working: bool = True) -> None:
        self.store = store
        self.reader: Reader = reader_of(store)
        self.tail = tail
        self.services: list[Service] = []
        """What runs because of the log, first to start first."""
        self.preparations: list[Callable[[], Awaitable[object]]] = []
        """What is done before anything is called, also in a process that does not work."""
        self.drains: list[Callable[[], Awaitable[None]]] = []
        """What is done as soon as the process is told to stop, while its calls still end: nothing new is begun."""
        self.counting: list[Callable[[], Iterable[Count]]] = []
        """Who counts what is done in this process."""
        self.consumers: Consumers | None = None
        """One of them: what handles events."""
        self.is_working = is_working
        self.alone = asyncio.Lock()
        """Held by the only job or event at work, where it matters which one ends the process."""
        self._bell = bell

    def counts(self) -> list[Count]:
        """What was done in this process."""
        return [count for counts in self.counting for count in counts()]

    async def start(self) -> None:
        """Follow the log; the store was started before. Raises: Unavailable."""
        await self.reader.begin()
        for prepare in self.preparations:
            await prepare()
        await self.tail.start()
        self._bell.ring = self.tail.ring
        if self.is_working:
            for service in self.services:
                await service.start()

    async def drain(self) -> None:
        """Begin nothing new; what runs goes on until `stop`. Whoever says it again changes nothing."""
        if self.is_working:
            await asyncio.gather(*(drain() for drain in self.drains), return_exceptions=True)

    async def stop(self) -> None:
        """Stop all services at once, so that each has the whole of the time that is left; the tail last, which has
        their claims."""
        try:
            if self.is_working:
                stopped = await asyncio.gather(*(each.stop() for each in self.services), return_exceptions=True)
                errors = [error for error in stopped if isinstance(error, Exception)]
                for away in (error for error in errors if isinstance(error, Unavailable)):
                    # Others take what this one had for a dead process's, and begin it again.
                    log.warning("not everything could be given back: %s", away)
                if errors := [error for error in errors if not isinstance(error, Unavailable)]:
                    raise ExceptionGroup("messages could not be stopped", errors)
        finally:
            await self.tail.stop()
