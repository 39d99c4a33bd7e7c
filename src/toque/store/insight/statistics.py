"""What each statement of an app costs, kept in a small file beside it for `toque db advise`.

Counts by text, never a value. A file per process, written at most every ten seconds and off the event loop; old ones
are removed, so that what is kept is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from toque.store.statement import Statement

__all__ = ["FOLDER", "Cost", "Statistics", "recorded"]

log = logging.getLogger("toque.statements")

FOLDER = Path(".toque") / "statements"
"""Where they are kept, below the app's folder."""

WRITE_EVERY_NS = 10_000_000_000
# As many texts as an app of a few hundred operations has, at some 300 bytes each; later ones are not learned.
TEXTS_MAX = 1000
# Workers of this run and of the last ones.
FILES_MAX = 16
OPERATIONS_MAX = 3
"""Enough to find the place in the code."""


class Cost(msgspec.Struct):
    """What one statement has cost so far."""

    sql: str
    is_write: bool = False
    calls: int = 0
    seconds: float = 0.0
    rows: int = 0
    operations: list[str] = []


class Statistics:
    """An observer that adds up what it hears.

    Args:
        folder: the app's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._costs: dict[str, Cost] = {}
        self._due_ns = 0
        self._writing: asyncio.Future[None] | None = None
        self._file: Path | None = None

    def __call__(self, statement: Statement) -> None:
        if not statement.context.operation:
            return  # What Toque does for itself is nobody's to make faster.
        cost = self._costs.get(statement.sql)
        if cost is None:
            if len(self._costs) >= TEXTS_MAX:
                return
            cost = self._costs[statement.sql] = Cost(statement.sql, statement.is_write)
        cost.calls += 1
        cost.seconds += (statement.ended_ns - statement.started_ns) / 1e9
        cost.rows += statement.rows
        operation = statement.context.operation
        if operation not in cost.operations and len(cost.operations) < OPERATIONS_MAX:
            cost.operations.append(operation)
        if statement.ended_ns >= self._due_ns and (self._writing is None or self._writing.done()):
            self._due_ns = statement.ended_ns + WRITE_EVERY_NS
            content = msgspec.json.encode(list(self._costs.values()))
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, content)

    async def stop(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            await self._writing
        if self._costs:
            await asyncio.to_thread(self._write, msgspec.json.encode(list(self._costs.values())))

    def _write(self, content: bytes) -> None:
        """Replace the file whole; a call does not fail for its count."""
        try:
            file = self._own_file()
            draft = file.with_name(f".{file.name}")
            draft.write_bytes(content)
            os.replace(draft, file)
        except OSError as error:
            log.warning("the statistics of statements cannot be written: %s", error)

    def _own_file(self) -> Path:
        """Chosen at the first write, because a worker may be a copy of its parent."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in _newest_first(self._folder)[FILES_MAX - 1 :]:
                old.unlink(missing_ok=True)
            self._file = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        return self._file


def recorded(folder: Path) -> list[Cost]:
    """What the processes of the app in *folder* have kept, the dearest first."""
    costs: dict[str, Cost] = {}
    for each in _read(_newest_first(folder / FOLDER)):
        cost = costs.setdefault(each.sql, Cost(each.sql, each.is_write))
        cost.calls += each.calls
        cost.seconds += each.seconds
        cost.rows += each.rows
        cost.operations = sorted({*cost.operations, *each.operations})[:OPERATIONS_MAX]
    return sorted(costs.values(), key=lambda cost: cost.seconds, reverse=True)


def _read(files: Iterable[Path]) -> Iterable[Cost]:
    for file in files:
        try:
            yield from msgspec.json.decode(file.read_bytes(), type=list[Cost])
        except (OSError, msgspec.DecodeError):
            # Gone meanwhile, or of another version.
            continue


def _newest_first(folder: Path) -> list[Path]:
    def age(file: Path) -> float:
        try:
            return -file.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(folder.glob("*.json"), key=age)
