"""What is published is compared with what jobs wait for, by one process at a time, and soon after it is committed.

While no job waits, nothing is read and nothing is written: the place to go on from is then the end of the log, taken
before the look that found no wait (`waits` says why that loses nothing). A second process that compares, because the
first was frozen, only finds again what was found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import msgspec

from toque.call.turns import Turns
from toque.log.cursor import Cursor
from toque.log.reader import Reader
from toque.log.tail import Tail
from toque.messages.jobs.waits import PLACE, WAITS
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["Matching"]

log = logging.getLogger("toque.jobs")

PAGE = 100
"""Events compared at a time, a statement of some milliseconds."""

CLAIM_S = 5.0
"""How often a process asks whether it is the one: after the death of another, waits end so much late at most."""

SAVE_S = 1.0
"""Between two notes of how far it is, as for consumers: what is compared again after a crash costs a second's work."""

AGAIN_S = 1.0


class Matching:
    """See `messages.Service`.

    Args:
        on_woken: is told which jobs go on, by queue and position.
    """

    def __init__(
        self, store: Store, reader: Reader, tail: Tail, on_woken: Callable[[Iterable[tuple[str, int]]], None]
    ) -> None:
        self._store = store
        self._reader = reader
        self._tail = tail
        self._on_woken = on_woken
        self._statements = WAITS[store.dialect_name]
        self._turns = Turns(self._turn, log, "jobs cannot be woken by events", again_s=AGAIN_S, again_max_s=AGAIN_S)
        self._place: Cursor | None = None
        self._saved_at = 0.0

    async def start(self) -> None:
        self._tail.on_news(self._turns.wake)
        self._tail.on_lost(self._forget)
        self._turns.start()

    async def stop(self) -> None:
        await self._turns.stop()
        await self._tail.release(PLACE)

    def _forget(self) -> None:
        """Another process may have gone on."""
        self._place = None

    async def _turn(self) -> float | None:
        """Compare all there is."""
        if not await self._tail.claim(PLACE):
            # Deaf to news: at each, every process but one would ask the database in vain.
            await asyncio.sleep(CLAIM_S)
            return 0.0
        end = await self._reader.now()
        if not (await self._look(self._statements.is_open))[0][0]:
            self._place = end
            return None
        if self._place is not None and self._place.at > end.at:
            # The log ends before it: on SQLite a backup was restored, and positions are given anew.
            self._place = None
        place = self._place or await self._noted() or end
        while True:
            entries, after = await self._reader.read(place, PAGE)
            if entries:
                await self._compare([entry.pos for entry in entries])
            is_moved, place = after != place, after
            self._place = place
            if is_moved and (len(entries) == PAGE or monotonic() - self._saved_at > SAVE_S):
                self._saved_at = monotonic()
                await execute(self._store, self._statements.move, PLACE, msgspec.json.encode(place).decode())
            if not entries:
                return None

    async def _compare(self, positions: list[int]) -> None:
        document = msgspec.json.encode(positions).decode()

        async def run(database: Database) -> list[tuple[str, int]]:
            transaction, (wake, *rest) = transaction_of(database), self._statements.match
            woken: list[tuple[str, int]] = await transaction.fetch(wake, (document,), 0, list)
            for each in rest:
                await transaction.execute(each, (document,))
            return woken

        if woken := await self._store.command(run):
            self._on_woken(woken)
            # Whoever has room begins what was woken.
            self._tail.ring()

    async def _noted(self) -> Cursor | None:
        rows = await self._look(self._statements.place, PLACE)
        return msgspec.json.decode(rows[0][0], type=Cursor) if rows else None

    async def _look(self, statement: Prepared, *arguments: Any) -> list[Any]:
        return await look(self._store, statement, *arguments)
