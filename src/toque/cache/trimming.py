"""Forgetting old changes: by one process, and only after somebody has written something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from toque.cache.change_table import SLOT_S
from toque.cache.changes import changes_of
from toque.call.tasks import cancel
from toque.contract.errors import Error

if TYPE_CHECKING:
    from sqlalchemy import Table

    from toque.log.tail import Tail
    from toque.store.store import Store

__all__ = ["Trimming"]

log = logging.getLogger("toque.cache")

EVERY_S = 30.0
"""See `Changes.trim`: a part of the log is emptied in two steps within the time that it is not used."""

LAST_S = 6 * SLOT_S
"""How long it goes on after the last write: twice round all parts of the log."""

CLAIM = "trim changes"


class Trimming:
    """Trims one store's log of changes."""

    def __init__(self, store: Store, tables: Sequence[Table], tail: Tail | None) -> None:
        self._changes = changes_of(store, tables)
        self._tail = tail
        self._until = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Something was written: go on for a while."""
        self._until = monotonic() + LAST_S
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._trim())

    async def stop(self) -> None:
        await cancel(self._task)

    async def _trim(self) -> None:
        while monotonic() < self._until:
            await asyncio.sleep(EVERY_S)
            try:
                if self._tail is None or await self._tail.claim(CLAIM):
                    await self._changes.trim()
            except Error as error:
                log.warning("old changes cannot be forgotten now: %s", error)
