"""A small pool of PostgreSQL connections: the last one given back is the first one taken, so that few stay
warm.

asyncpg's own pool resets a connection on every release, which costs half of a one-row request
(measured). Ours resets only what was not left clean: nothing in Toque sets session state. A call is admitted
here rather than at the door, because here alone the capacity is known: who waits, and who is refused, is the line's to
say (`call/line.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting

__all__ = ["Pool", "Pooled"]

# How long a connection whose call was cancelled may take to become usable before a new one takes its place.
MEND_S = 0.1
# How long a closing connection may take to say goodbye.
CLOSE_S = 1.0


class Pooled(Protocol):
    """What the pool asks of a connection."""

    def is_closed(self) -> bool: ...

    def terminate(self) -> None: ...

    async def close(self, *, timeout: float | None = None) -> None: ...

    async def mend(self) -> None:
        """Wait until the server has stopped what was cancelled, roll back, and forget the session's state."""

    async def settle(self, timeout_s: float) -> None:
        """Wait until the server has been told of every cancellation, after `terminate` too, but no longer than that."""


C = TypeVar("C", bound=Pooled)


class Pool(Generic[C]):
    """At most *size* connections, and a line of at most *waiting_max* calls."""

    def __init__(self, connect: Callable[[], Awaitable[C]], size: int, waiting_max: int) -> None:
        self._connect = connect
        self._size = size
        self._idle: list[C] = []
        self._slots_used = 0
        self._mending: set[asyncio.Task[None]] = set()
        # None is a slot without a connection: whoever is handed it opens one.
        self.waiting: Waiting[C | None] = Waiting(
            "connections", size, waiting_max, give_back=self._pass_on, in_use=lambda: self.in_use
        )

    @property
    def slots_used(self) -> int:
        """Connections open or being opened."""
        return self._slots_used

    @property
    def in_use(self) -> int:
        """Connections that a call has, or that are being mended."""
        return self._slots_used - len(self._idle)

    async def take(self, context: Context = UNCALLED) -> C:
        """A connection that nobody else uses; waits for one when all are taken.

        Raises: Overloaded when the line says so.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._slots_used -= 1
        if self._slots_used < self._size:
            self._slots_used += 1
            return await self._open()
        handed = await self.waiting.turn(context)
        return await self._open() if handed is None or handed.is_closed() else handed

    def give(self, connection: C) -> None:
        """Take back a connection that is outside of any transaction."""
        self._pass_on(None if connection.is_closed() else connection)

    def mend(self, connection: C) -> None:
        """Take back a connection in an unknown state: it is used again when it is clean, or replaced."""
        task = asyncio.get_running_loop().create_task(self._mend(connection))
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def close(self) -> None:
        """Close every connection; calls must have ended."""
        try:
            while self._mending:
                await asyncio.wait(self._mending)
            while self._idle:
                with suppress(Exception):  # Of a driver's: what does not end well is cut all the same.
                    await self._idle[-1].close(timeout=CLOSE_S)
                self._cut()
        finally:
            # Nobody else would close those that a cancellation has left.
            while self._idle:
                self._cut()

    def _cut(self) -> None:
        self._slots_used -= 1
        self._idle.pop().terminate()

    async def _open(self) -> C:
        """Open a connection in a slot that is ours already, so that nobody who comes later can take it."""
        try:
            return await self._connect()
        except BaseException:
            self._pass_on(None)
            raise

    def _pass_on(self, connection: C | None) -> None:
        """A slot is free, with its connection if it has one: it goes to who waits, or to who comes next."""
        if self.waiting.hand_over(connection):
            return
        if connection is None:
            self._slots_used -= 1
        else:
            self._idle.append(connection)

    async def _mend(self, connection: C) -> None:
        try:
            async with asyncio.timeout(MEND_S):
                await connection.mend()
        except BaseException:
            connection.terminate()
        self.give(connection)
        await connection.settle(CLOSE_S)
