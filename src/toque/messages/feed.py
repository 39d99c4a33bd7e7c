"""The log as all consumers of a process read it: a page that one has read is not read again for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.log.reader import Reader

__all__ = ["PAGE", "Feed"]

PAGE = 100
"""Events read at a time: a cursor is noted after a page, so what is read again after a crash is as little."""

KEPT_MAX = 8
"""Pages that are kept, of 256 KiB an event at most: consumers that keep up read the same one at the same moment."""


class Feed:
    """Reads for many consumers. A page stays right, for what lies between two places of the log never changes; but in a
    database that a backup was restored into, which a consumer feels by having been taken over."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = asyncio.Lock()
        self._begun = 0
        self._kept: dict[Cursor, tuple[int, Sequence[Entry], Cursor]] = {}

    def forget(self) -> None:
        """Keep nothing of what was read: the log may be another one."""
        self._kept.clear()

    async def read(self, cursor: Cursor) -> tuple[Sequence[Entry], Cursor]:
        """See `Reader.read`."""
        asked = self._begun
        async with self._lock:
            number, entries, after = self._kept.get(cursor, (0, (), cursor))
            # That there was nothing is news only from a look that began after this one was asked for.
            if entries or number > asked:
                return entries, after
            self._begun += 1
            number = self._begun
            entries, after = await self._reader.read(cursor, PAGE)
            self._kept.pop(cursor, None)
            self._kept[cursor] = (number, entries, after)
            while len(self._kept) > KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        return entries, after
