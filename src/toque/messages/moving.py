"""The messages of an app, taken along into another database: events, who has read how far, jobs, webhooks, inbox.

All of it is one transaction of the target, done anew as a whole where a copy is begun again, because places, inbox and
events hold only together. Positions stay what they were. What a place means does not: on PostgreSQL it is a snapshot
of one cluster's transactions, on SQLite a position. So

- from SQLite to PostgreSQL what was brought is an epoch that is over, up to the last position that was given, and the
  places are positions in it (`postgres_reader`, "an epoch that is over"); what is published from then on lies above it;
- from PostgreSQL to PostgreSQL rows keep their transactions' numbers, places are as they were, and another cluster
  begins an epoch of its own at its first start, as after a restore;
- from PostgreSQL to SQLite a place becomes the position before the first event that it has not read. What lies above
  that and was read already comes again: handlers find it in the inbox, which comes along; others are told at least once
  anyway.

Jobs that were running are given back by the target's first worker, because nobody there holds their workers' numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from toque.log.append import slot_of
from toque.log.cursor import Cursor
from toque.log.snapshots import bounds
from toque.messages.moving_ends import End, PostgresEnd, end_of
from toque.messages.tables import complaints, lay_out
from toque.store.moving.site import MovingError

__all__ = ["Luggage"]

PLACES = ("consumer", "relay", "webhook_place", "job_wait_place")
"""Who follows the log, by name, with his place in `cursor`."""

TABLES = (
    *("event", "consumer", "inbox", "parked", "relay", "arrived"),
    *("job", "job_once", "job_result", "job_dead", "job_step", "job_schedule", "job_queue", "job_rate", "job_left"),
    *("webhook_endpoint", "webhook_delivery", "webhook_place", "job_wait_place"),
)
"""Without what was changed in the last minutes: that says something of the database that it is in."""

NUMBERED = (("consumer", "id"), ("parked", "place"), ("job", "pos"), ("webhook_delivery", "id"))
"""Whose numbers the database gives."""


class Luggage:
    """What `store.moving.copy` takes along beside the app's own tables.

    Args:
        source_url, target_url: databases; the app runs on neither.
    """

    def __init__(self, source_url: str, target_url: str) -> None:
        self._source_url = source_url
        self._target_url = target_url
        self._marks: Sequence[Any] = ()

    async def is_full(self) -> bool:
        """Whether the target has messages."""
        target = await end_of(self._target_url)
        try:
            return any([await target.has_rows(table) for table in TABLES if await target.columns(table)])
        finally:
            await target.close()

    async def bring(self) -> dict[str, int]:
        """Bring everything: how many rows of each table that has some. Raises: MovingError."""
        for complaint in await complaints(self._source_url):
            raise MovingError(str(complaint))
        await lay_out(self._target_url)
        source, target = await end_of(self._source_url), await end_of(self._target_url)
        try:
            async with source.reading():
                self._marks = await _marks(source)
                async with target.writing():
                    rows = {table: await _bring(source, target, table) for table in TABLES}
                    last = await source.last_position()
                    await _let_go_on(target, last)
                    await _place(source, target, last)
            await _catch_up(source, target, last)
        finally:
            await source.close()
            await target.close()
        return {table: count for table, count in rows.items() if count}

    async def is_behind(self) -> bool:
        """Whether the source's messages are no longer those that were brought."""
        source = await end_of(self._source_url)
        try:
            async with source.reading():
                return await _marks(source) != self._marks
        finally:
            await source.close()


async def _bring(source: End, target: End, table: str) -> int:
    types = {**await source.columns(table), **(await target.columns(table) if isinstance(target, PostgresEnd) else {})}
    there = await target.columns(table)
    names = [name for name in await source.columns(table) if name in there]
    needs_slot = table == "event" and "slot" in there and "slot" not in names
    await target.empty(table)
    count = 0
    async for batch in source.rows(table, names):
        rows = [[source.given(value, types[name]) for name, value in zip(names, row, strict=True)] for row in batch]
        if needs_slot:
            at = names.index("at")
            rows = [[*row, slot_of(row[at])] for row in rows]
        written = [*names, "slot"] if needs_slot else names
        await target.add(
            table,
            written,
            [[target.taken(value, there[n]) for n, value in zip(written, row, strict=True)] for row in rows],
        )
        count += len(rows)
    if count != await target.count(table):
        raise MovingError(f"Toque's own table {table!r} has not all rows after copying; run this again")
    return count


async def _let_go_on(target: End, last: int) -> None:
    """Give numbers above those that were given."""
    for table, column in NUMBERED:
        await target.number_from(table, column)
    await target.position_from(last)
    await target.worker_from()


async def _place(source: End, target: End, last: int) -> None:
    """Say of each place what it means in the target."""
    if isinstance(target, PostgresEnd):
        await target.set_epochs(await source.epochs(), last)
    elif isinstance(source, PostgresEnd):
        for table in PLACES:
            for name, cursor in await source.places(table):
                first = await _first_unread(source, msgspec.json.decode(cursor, type=Cursor))
                at = last if first is None else first - 1
                await target.set_place(table, name, _json(Cursor(at=at)))


async def _first_unread(source: PostgresEnd, cursor: Cursor) -> int | None:
    epochs = await source.epochs()
    floor = next((floor for number, _, floor in epochs if number > cursor.epoch), None)
    if floor is None:
        own = max((floor for number, _, floor in epochs if number == cursor.epoch), default=0)
        return await source.first_unread(*bounds(cursor.seen), cursor.at, cursor.until, own)
    return await source.first_unread_of_old(cursor.at, cursor.seen, floor)


async def _catch_up(source: End, target: End, last: int) -> None:
    """Have who had read everything stand where the target is now, so that nothing old is kept for him."""
    if not isinstance(target, PostgresEnd) or isinstance(source, PostgresEnd):
        return
    now = _json(Cursor(seen=await target.snapshot(), epoch=2))
    async with target.writing():
        for table in PLACES:
            for name, cursor in await target.places(table):
                if msgspec.json.decode(cursor, type=Cursor).at >= last:
                    await target.set_place(table, name, now)


async def _marks(source: End) -> Sequence[Any]:
    """What differs once anything was published, handled, enqueued or begun."""
    counts = [await source.count(table) for table in TABLES]
    places = [sorted(await source.places(table)) for table in PLACES]
    return [counts, places, await source.last_position(), await source.starts()]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
