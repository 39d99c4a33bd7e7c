"""A wire to PostgreSQL: one connection that looks, listens, and holds session advisory locks.

Who is alive is for the server to say: the locks of a session end with it, so no clock is compared and an idle process
writes nothing (manual, 13.3.5 "Advisory Locks"). It must not go through a pooler in transaction mode, which has no
sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, TypeVar

from toque.contract.errors import Unavailable
from toque.log.pace import CLOCK, Pace
from toque.log.probe import Probe
from toque.log.snapshots import bounds
from toque.store.postgres_connection import Connection, connect
from toque.store.postgres_errors import FAILURES, STOPPED
from toque.store.prepared import BY_INDEX

__all__ = ["PostgresWire"]

T = TypeVar("T")

CHANNEL = "toque"

ANSWER_S = 10.0
"""How long the server may take to answer: a look costs it a millisecond."""

WALK_S = 2.0
"""How long a look may take that asks what may walk, or the events would be seen late, and in the end nothing: a wire
whose answer does not come is cut."""

WALK_SHARE = 100
WALK_PAUSE_MAX_S = 300.0
"""How seldom what may walk is asked, after it took long. Whoever is to hear of it then looks for himself, half a minute
later at most (`jobs/floors.py`), and walks over the same: once is enough."""

FROZEN_S = 30
"""A process that says nothing for so long is taken for dead, and its session ended (`idle_session_timeout`, from
PostgreSQL 14 on). It says something every second, so thirty in a row must be missing."""

# A machine that vanished answers no probe: 10 + 3 x 5 seconds (manual, 20.3.2 "TCP Settings"). A ring leaves nothing
# that would have to be on the disk, yet its commit would wait for the disk like any other. Looks go by an index, also
# where they were planned while a table was empty, or was said to be.
_SESSION = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    f"SET synchronous_commit = off{''.join(f'; SET {name} = off' for name in BY_INDEX)}"
)


class PostgresWire:
    """See `Wire`."""

    def __init__(self, url: str, probes: Sequence[Probe], on_heard: Callable[[], None]) -> None:
        self._url = url
        self._on_heard = on_heard
        self._asked = [
            (f"({probe.postgresql})", Pace(WALK_SHARE, WALK_PAUSE_MAX_S) if probe.may_walk else None)
            for probe in probes
        ]
        self._xmax, self._xip = "1", list[str]()
        self._connection: Connection | None = None
        self._pid = 0
        # One connection does one thing at a time.
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        # Nobody asks anything of a connection that is not ready: it would fail, and be cut for that.
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._connection = await self._opened()
            except FAILURES as error:
                raise Unavailable(f"the log cannot be reached: {error}") from error

    async def _opened(self) -> Connection:
        connection = await connect(self._url, name="toque tail")
        try:
            await connection.execute(_SESSION)
            if connection.get_server_version().major >= 14:
                await connection.execute(f"SET idle_session_timeout = '{FROZEN_S}s'")
            self._pid = connection.get_server_pid()
            await connection.add_listener(CHANNEL, self._hear)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*FAILURES):
                await connection.close(timeout=1)

    async def look(self) -> Sequence[float | None]:
        paced = {at: pace for at, (_, pace) in enumerate(self._asked) if pace is not None and pace.pause_s() <= 0}
        asked = [probe if pace is None or at in paced else "NULL" for at, (probe, pace) in enumerate(self._asked)]
        sql = ", ".join(["SELECT pg_current_snapshot()::text", CLOCK, *(f"{each}, {CLOCK}" for each in asked)])
        arguments = (self._xmax, self._xip) if "$1" in sql else ()
        if (row := await self._ask(lambda at: _within(WALK_S if paced else None, at, sql, arguments))) is None:
            for pace in paced.values():
                pace.note(WALK_S)
            # Whoever waits for that looks for himself; the others are asked at once.
            return [0.0 if at in paced else None for at in range(len(self._asked))]
        snapshot, *found = row
        self._xmax, self._xip = bounds(snapshot)
        for at, pace in paced.items():
            pace.note(found[2 * at + 2] - found[2 * at])
        return found[1::2]

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = await self._ask(lambda at: at.fetch(sql, *arguments))
        return rows

    async def ring(self) -> None:
        await self._ask(lambda at: at.execute(f"NOTIFY {CHANNEL}"))

    async def claim(self, name: str) -> bool:
        is_ours: bool = await self._ask(lambda at: at.fetchval("SELECT pg_try_advisory_lock($1)", _number_of(name)))
        return is_ours

    async def release(self, name: str) -> None:
        await self._ask(lambda at: at.fetchval("SELECT pg_advisory_unlock($1)", _number_of(name)))

    async def _ask(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        async with self._lock:
            connection = self._connection
            if connection is None or connection.is_closed():
                raise Unavailable("the tail's connection is lost")
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await ask(connection)
            except FAILURES as error:
                # Whatever it was: a wire that is in doubt holds nothing.
                self._cut()
                raise Unavailable(f"the log cannot be followed: {error}") from error
            except asyncio.CancelledError:
                self._cut()
                raise

    def _hear(self, _: Any, pid: int, *__: str) -> None:
        if pid != self._pid:
            self._on_heard()

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _within(seconds: float | None, connection: Any, sql: str, arguments: Sequence[Any]) -> Sequence[Any] | None:
    """The row; None where it did not come within *seconds*, or the server itself allows less."""
    try:
        row: Sequence[Any] = await connection.fetchrow(sql, *arguments, timeout=seconds)
    except STOPPED:
        if seconds is None:
            raise
        return None
    return row


def _number_of(name: str) -> int:
    """Advisory locks have numbers: two names of one app meet in one of 2^64 with no chance worth a thought."""
    return int.from_bytes(blake2b(f"toque {name}".encode(), digest_size=8).digest(), signed=True)
