"""How far a job is, for whoever follows it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from toque.messages.jobs.book import Book

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["Mark", "Progress"]

EVERY_S = 0.5
"""Between two that are written: people see no more, and a job may tell of each of a million rows."""

NOTE_CHARS_MAX = 500


class Mark(Struct, frozen=True):
    """How far a job was when it last said so."""

    done: float
    total: float | None = None
    note: str = ""


class Progress:
    """What a job asks for by type to say how far it is: `await progress(3, 10, "the soup")`."""

    __slots__ = ("_book", "_context", "_due")

    def __init__(self, context: Context, book: Book) -> None:
        self._context = context
        self._book = book
        self._due = 0.0

    async def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Let it be known that *done* of *total* is done; twice a second at most, and always at the end.

        It is seen before the job commits, except on SQLite, which has one writer: there it is seen while the job has
        not written anything itself.
        """
        delivery, now = self._context.delivery, monotonic()
        if delivery is None or (now < self._due and done != total):
            return
        self._due = now + EVERY_S
        mark = Mark(done, total, note[:NOTE_CHARS_MAX])
        self._book.report(delivery.id, delivery.fence, msgspec.json.encode(mark).decode())
