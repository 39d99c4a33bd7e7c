"""All rows of an app from one database into an empty other one, verified, and resumable after any crash.

The source is read in one snapshot. Each batch and the note of how far it goes are one transaction of the target,
so a copy that was killed goes on behind the last batch. In the end every table is read back, and its count and
checksum must be those of what was read from the source; then the source is read once more, which tells whether
somebody wrote to it meanwhile.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import MetaData, Table
from sqlalchemy.exc import SAWarning

from toque.store import preparation
from toque.store.moving.checksum import Checksum
from toque.store.moving.shape import Shape
from toque.store.moving.site import MovingError, Site, is_ours, open_site
from toque.store.schema import VERSION_TABLE

__all__ = ["Along", "Copied", "Progress", "copy", "tables_of"]

Progress = Callable[[str, int, int], None]
"""Told of a table, how many of its rows are there, and how many there will be."""

DONE = "done"


class Along(Protocol):
    """What belongs to an app beside the tables of its models, and is brought whole."""

    async def is_full(self) -> bool:
        """Whether the target has some of it."""
        ...

    async def bring(self) -> dict[str, int]:
        """Bring all of it, in the place of what an earlier run brought: how many rows of each table."""
        ...

    async def is_behind(self) -> bool:
        """Whether it has changed in the source since."""
        ...


OWN_TABLES = "events and jobs"


@dataclass
class Copied:
    """What a copy came to."""

    source: str
    target: str
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows of each table are in the target."""
    along: dict[str, int] = field(default_factory=dict)
    """And of Toque's own tables."""
    resumed: bool = False
    """Whether it went on with a copy that had been begun before."""
    behind: list[str] = field(default_factory=list)
    """Tables that somebody wrote to in the source meanwhile."""
    left: list[str] = field(default_factory=list)
    """Tables of the source that were not copied."""


async def copy(
    source_url: str,
    target_url: str,
    metadata: MetaData,
    folder: Path,
    *,
    leave: Collection[str] = (),
    along: Along | None = None,
    progress: Progress = lambda table, done, total: None,
) -> Copied:
    """Copy every row of the tables of *metadata*; the target's schema is made as for a new app.

    Run again, it goes on where it stopped, and copies what has changed in the source since.

    Args:
        folder: where the app's migrations are.
        leave: tables of the source that no model has and that may stay behind.
        along: what else comes along.
    Raises: MovingError, SetupError where the source's schema is not that of the models, Unavailable.
    """
    await preparation.check_tables(source_url, metadata, folder)
    source = await open_site(source_url)
    try:
        target = await open_site(target_url, is_new=True)
        try:
            work = _Copy(source, target, tables_of(metadata), progress, along)
            return await work.run(target_url, metadata, folder, leave)
        finally:
            await target.close()
    finally:
        await source.close()


def tables_of(metadata: MetaData) -> list[Table]:
    """The tables, those that are referred to first; in a circle of references any order will do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        return list(metadata.sorted_tables)


class _Copy:
    def __init__(
        self, source: Site, target: Site, tables: Sequence[Table], progress: Progress, along: Along | None
    ) -> None:
        self._along = along
        self._source = source
        self._target = target
        self._tables = tables
        self._progress = progress
        self._reads = {table.name: Shape(table, source.dialect) for table in tables}
        self._writes = {table.name: Shape(table, target.dialect) for table in tables}
        self._sums: dict[str, Checksum] = {}
        self._result = Copied(source.label, target.label)

    async def run(self, target_url: str, metadata: MetaData, folder: Path, leave: Collection[str]) -> Copied:
        result = self._result
        result.left = await self._left(leave)
        state = await self._claim()
        if "schema" not in state:
            await preparation.prepare(target_url, metadata, folder)
            await self._target.note({"schema": "made"})
        if self._along is not None:
            result.along = await self._along.bring()
        await self._target.begin_loading(self._tables)
        sequences = {}
        async with self._source.snapshot():
            for table in self._tables:
                await self._table(table, state)
                if (last := await self._source.sequence(table)) is not None:
                    sequences[table.name] = last
        await self._target.end_loading(self._tables, sequences)
        result.rows = {name: found.rows for name, found in self._sums.items()}
        result.behind = await self._behind()
        if self._along is not None and await self._along.is_behind():
            result.behind.append(OWN_TABLES)
        if not result.behind:
            await self._target.forget()
        return result

    async def _left(self, leave: Collection[str]) -> list[str]:
        """The tables that stay behind; refuses to leave one that nobody named, or to copy one that is not there."""
        there = await self._source.tables()
        if missing := sorted(set(self._reads) - there):
            raise MovingError(f"the source lacks tables of the models: {', '.join(missing)}; run `toque db upgrade`")
        others = sorted(there - set(self._reads) - {VERSION_TABLE})
        unnamed = [name for name in others if name not in leave and not is_ours(name)]
        if unnamed:
            raise MovingError(
                f"no model has these tables of the source: {', '.join(unnamed)}; "
                "give them a model, or leave them behind: " + " ".join(f"--leave {name}" for name in unnamed)
            )
        # What comes along is not left behind.
        return [name for name in others if self._along is None or not is_ours(name)]

    async def _claim(self) -> dict[str, str]:
        """The state of the copy that this one goes on with; begins one in an empty target."""
        target, label = self._target, self._source.label
        if label == target.label:
            raise MovingError("source and target are the same database; nothing was done")
        state = await target.state()
        if state is None:
            full = await target.has_rows(self._tables)
            if self._along is not None and await self._along.is_full():
                full.append(OWN_TABLES)
            if full:
                raise MovingError(
                    f"the target has rows already, in {', '.join(full)}; copy into an empty database: "
                    "nothing is ever merged or overwritten"
                )
            state = {"source": label}
            await target.note(state)
        elif state["source"] != label:
            raise MovingError(
                f"the target has a copy under way from {state['source']}, not from {label}; "
                "go on with that one, or drop the target and begin again"
            )
        else:
            self._result.resumed = True
        return state

    async def _table(self, table: Table, state: dict[str, str]) -> None:
        """Bring one table over, from where it was left."""
        name = table.name
        had = state.get(f"table {name}", "0")
        if had == DONE and await self._is_like(name):
            return
        skipped = int(had) if had.isdigit() and self._reads[name].is_ordered else 0
        if had != "0" and not skipped:
            await self._target.empty(self._writes[name], {f"table {name}": "0"})
        if not await self._load(name, skipped):
            # The part that was there already is not what the source has now.
            await self._target.empty(self._writes[name], {f"table {name}": "0"})
            if not await self._load(name, 0):
                raise MovingError(
                    f"table {name!r} is not the same after copying: {self._sums[name]} was read, "
                    f"{await self._there(name)} is there; a type of one of its columns does not keep its values"
                )
        await self._target.note({f"table {name}": DONE})

    async def _load(self, name: str, skipped: int) -> bool:
        """Copy what follows the first *skipped* rows; whether the target then has what was read."""
        reads, writes = self._reads[name], self._writes[name]
        total = await self._source.count(reads)
        read = Checksum()
        async for raw in self._source.rows(reads):
            rows = reads.from_driver(raw)
            new = rows[max(0, skipped - read.rows) :]
            read.add(rows)
            if new:
                await self._target.load(writes, self._written(writes, new), {f"table {name}": str(read.rows)})
            self._progress(name, read.rows, total)
        self._sums[name] = read
        return read.is_like(await self._there(name))

    async def _is_like(self, name: str) -> bool:
        """Whether a table that was copied before is still what the source has."""
        read = self._sums[name] = await self._checksum(self._source, self._reads[name])
        self._progress(name, read.rows, read.rows)
        return read.is_like(await self._there(name))

    def _written(self, shape: Shape, rows: Sequence[Any]) -> list[Any]:
        try:
            return shape.to_driver(rows)
        except (ValueError, TypeError) as error:
            raise MovingError(f"table {shape.table.name!r}: the target cannot keep a value: {error}") from error

    async def _there(self, name: str) -> Checksum:
        async with self._target.snapshot():
            return await self._checksum(self._target, self._writes[name])

    async def _checksum(self, site: Site, shape: Shape) -> Checksum:
        found = Checksum()
        async for raw in site.rows(shape):
            found.add(shape.from_driver(raw))
        return found

    async def _behind(self) -> list[str]:
        """The tables that are no longer what they were in the snapshot."""
        async with self._source.snapshot():
            return [
                name
                for name, read in self._sums.items()
                if not read.is_like(await self._checksum(self._source, self._reads[name]))
            ]
