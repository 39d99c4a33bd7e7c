"""Forgetting old changes on PostgreSQL: by one process, for as long as there are any.

Whoever sees changes wants to; one process at a time may (`CLAIM`). A process that is killed loses its claim with its
connection. Where nobody is left, those who write forget (`change_table.py`).
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from toque.cache.change_table import SLOT_S
from toque.call.tasks import cancel
from toque.contract.errors import Error

if TYPE_CHECKING:
    from toque.log.tail import Tail

__all__ = ["CLAIM", "Trimmed", "Trimming"]

log = logging.getLogger("toque.cache")

EVERY_S = 30.0
"""A part of the log is emptied in two steps within the time that it is not used."""

LAST_S = 6 * SLOT_S
"""How long it goes on after the last change: twice round all parts of the log."""

CLAIM = "trim changes"


class Trimmed(Protocol):
    """A log of changes that somebody has to trim."""

    async def trim(self) -> None:
        """Forget what is older than some minutes; to be called twice a minute."""
        ...


class Trimming:
    """Trims one log of changes, in the process whose *tail* has the claim."""

    def __init__(self, changes: Trimmed, tail: Tail, *, every_s: float = EVERY_S, last_s: float = LAST_S) -> None:
        self._changes = changes
        self._tail = tail
        self._every_s = every_s
        self._last_s = last_s
        self._until = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """There are changes: go on for a while."""
        self._until = monotonic() + self._last_s
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._trim())

    async def stop(self) -> None:
        await cancel(self._task)

    async def _trim(self) -> None:
        while monotonic() < self._until:
            await asyncio.sleep(self._every_s)
            try:
                if await self._tail.claim(CLAIM):
                    await self._changes.trim()
            except Error as error:
                log.warning("old changes cannot be forgotten now: %s", error)
        # Others may see changes that nobody asks for here.
        await self._tail.release(CLAIM)
