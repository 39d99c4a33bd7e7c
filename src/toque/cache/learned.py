"""What queries were found to read when they ran, and why some are not kept after all: in a small file beside a
development app, for `toque explain`. Names of tables and columns, never a value.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

__all__ = ["FILE", "Learned", "Learning", "learned"]

log = logging.getLogger("toque.cache")

FILE = Path(".toque") / "queries.json"
"""Where it is kept, below the app's folder."""

WRITE_AFTER_S = 1.0
"""A file a second at most, and none once all is known."""


class Learned(msgspec.Struct):
    """What is known of one query."""

    reads: dict[str, list[list[str]]] = {}
    """Of each table, by equality in which columns; by none where any row counts."""
    why_not: str = ""
    """Why no answer of it is kept."""

    @property
    def words(self) -> str:
        """The tables and columns, in words."""
        return "; ".join(f"{table} {_by(found)}" for table, found in sorted(self.reads.items()))


class Learning:
    """Writes what *known* says, soon after it says more.

    Args:
        folder: the app's folder.
    """

    def __init__(self, folder: Path, known: Callable[[], Mapping[str, Learned]]) -> None:
        self._file = folder / FILE
        self._known = known
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    def learn(self) -> None:
        """There is more to be known."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._begin)

    async def stop(self) -> None:
        """Write what is left."""
        await _ended(self._writing)
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
            await _ended(self._writing)

    def _begin(self) -> None:
        self._timer = None
        if self._writing is not None and not self._writing.done():
            self.learn()  # One after the other: an earlier one that ends later would be believed.
            return
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, dict(self._known()))

    def _write(self, known: Mapping[str, Learned]) -> None:
        """Replace the file whole; no call fails for it. Of two workers that write at once, the later wins."""
        draft = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode({**_read(self._file), **known}))
            os.replace(draft, self._file)
        except OSError as error:
            log.warning("what queries read cannot be written down: %s", error)


def _by(found: Iterable[Sequence[str]]) -> str:
    schemes = [" and ".join(columns) for columns in found]
    return f"by {' or '.join(schemes)}" if all(schemes) else "as a whole"


async def _ended(writing: asyncio.Future[None] | None) -> None:
    if writing is not None:
        await writing


def learned(folder: Path) -> Mapping[str, Learned]:
    """What is known of the queries of the app in *folder*, by their names."""
    return _read(folder / FILE)


def _read(file: Path) -> dict[str, Learned]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Learned])
    except (OSError, msgspec.DecodeError):
        # Nothing has run yet, or it is of another version.
        return {}
