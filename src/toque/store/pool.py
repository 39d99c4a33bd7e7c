"""A small pool of PostgreSQL connections: the last one given back is the first one taken, so that few stay
warm.

asyncpg's own pool resets a connection on every release, which costs half of a one-row request
(data_formats.md 1.1). Ours resets only what was not left clean: nothing in Toque sets session state. How long
the line may be and who in it comes first is decided here alone; admission belongs in this place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from toque.contract.errors import Overloaded

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


C = TypeVar("C", bound=Pooled)


class Pool(Generic[C]):
    """At most *size* connections, and a line of at most *waiting_max* calls."""

    def __init__(self, connect: Callable[[], Awaitable[C]], size: int, waiting_max: int) -> None:
        self._connect = connect
        self._size = size
        self._waiting_max = waiting_max
        self._idle: list[C] = []
        self._slots_used = 0
        self._line: deque[asyncio.Future[C | None]] = deque()
        self._mending: set[asyncio.Task[None]] = set()

    @property
    def slots_used(self) -> int:
        """Connections open or being opened."""
        return self._slots_used

    @property
    def in_use(self) -> int:
        """Connections that a call has, or that are being mended."""
        return self._slots_used - len(self._idle)

    async def take(self) -> C:
        """A connection that nobody else uses; waits for one when all are taken."""
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._slots_used -= 1
            if self._slots_used < self._size:
                return await self._open()
            handed = await self._stand_in_line()
            if handed is not None:
                return handed

    def give(self, connection: C) -> None:
        """Take back a connection that is outside of any transaction."""
        if connection.is_closed():
            self._slots_used -= 1
            self._hand_over(None)
        elif not self._hand_over(connection):
            self._idle.append(connection)

    def mend(self, connection: C) -> None:
        """Take back a connection in an unknown state: it is used again when it is clean, or replaced."""
        task = asyncio.get_running_loop().create_task(self._mend(connection))
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def close(self) -> None:
        """Close every connection; calls must have ended."""
        if self._mending:
            await asyncio.wait(self._mending)
        while self._idle:
            connection = self._idle.pop()
            self._slots_used -= 1
            try:
                await connection.close(timeout=CLOSE_S)
            except (OSError, TimeoutError):
                connection.terminate()

    async def _open(self) -> C:
        self._slots_used += 1
        try:
            return await self._connect()
        except BaseException:
            self._slots_used -= 1
            self._hand_over(None)
            raise

    async def _stand_in_line(self) -> C | None:
        if len(self._line) >= self._waiting_max:
            raise Overloaded("Too many calls are waiting for the database.", retry_after_s=1)
        turn: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._line.remove(turn)
            elif (handed := turn.result()) is not None:
                self.give(handed)
            else:
                self._hand_over(None)
            raise

    def _hand_over(self, connection: C | None) -> bool:
        """Give *connection*, or None for the right to open one, to whoever waits longest."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    async def _mend(self, connection: C) -> None:
        try:
            async with asyncio.timeout(MEND_S):
                await connection.mend()
        except BaseException:
            connection.terminate()
        self.give(connection)
