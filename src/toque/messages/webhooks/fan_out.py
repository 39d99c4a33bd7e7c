"""From the log to deliveries: each event once for each endpoint that hears of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from toque.log.cursor import Cursor
from toque.log.entry import Entry
from toque.log.reader import PAGE, Reader
from toque.messages.webhooks.statement import reading, writing
from toque.store.database import Database, transaction_of
from toque.store.store import Store

__all__ = ["FanOut", "body_of"]

PLACE = "deliveries"

_FIND = reading("SELECT cursor FROM @place WHERE name = :1")
_BEGIN = writing("INSERT INTO @place (name, cursor) VALUES (:1, :2) ON CONFLICT (name) DO NOTHING")
_MOVE = writing("UPDATE @place SET cursor = :2 WHERE name = :1 AND cursor = :3")
_HEARING = reading("SELECT id, tenant, types FROM @endpoint WHERE state = 'enabled'")
_ADD = writing(
    "INSERT INTO @delivery (endpoint, message, type, body, state, due, made_at) "
    "VALUES (:1, :2, :3, :4, 'waiting', :5, :5) ON CONFLICT (endpoint, message) DO NOTHING"
)


class _Moved(Exception):
    """Another process has read on meanwhile."""


class FanOut:
    """Turns what is new in the log into deliveries.

    They and the place up to which was read are one transaction, and the place is where it was found: so no event is
    left out and none comes twice, whichever process does it.
    """

    def __init__(self, store: Store, reader: Reader, types: Collection[str]) -> None:
        self._store = store
        self._reader = reader
        self._types = types
        self._kept = ""
        """The place as the database has it; empty where that is not known."""
        self._read_to = Cursor()
        """How far was read: behind the place there may be much that was no event, and nobody writes that down."""

    async def begin(self) -> None:
        """Take note of where the log is when webhooks are first used: what came before is nobody's."""
        now = await self._reader.now()

        async def note(database: Database) -> None:
            transaction = transaction_of(database)
            await transaction.execute(_BEGIN.within(transaction), (PLACE, _json(now)))

        await self._store.command(note)

    def forget(self) -> None:
        """Another process may read on now."""
        self._kept = ""

    async def step(self) -> bool:
        """Read one page; whether there may be more."""
        if not self._kept:
            self._kept = await self._place()
            self._read_to = msgspec.json.decode(self._kept, type=Cursor)
        entries, after = await self._reader.read(self._read_to)
        if not entries and await self._place() != self._kept:
            # A backup was restored: on SQLite what comes now has positions behind the one that was read to here.
            self.forget()
            return True
        if entries:
            try:
                await self._store.command(partial(self._add, entries, after))
            except _Moved:
                self.forget()
                return True
            self._kept = _json(after)
        self._read_to = after
        return len(entries) >= PAGE

    async def _add(self, entries: Sequence[Entry], after: Cursor, database: Database) -> None:
        transaction = transaction_of(database)
        if not await transaction.execute(_MOVE.within(transaction), (PLACE, _json(after), self._kept)):
            raise _Moved
        wanted = [entry for entry in entries if entry.type in self._types]
        if wanted:
            hearing = await transaction.fetch(_HEARING.within(transaction), (), 0, list)
            if rows := list(_deliveries(wanted, hearing, time.time())):
                await transaction.execute_many(_ADD.within(transaction), rows)

    async def _place(self) -> str:
        async def find(database: Database) -> str:
            transaction = transaction_of(database)
            rows = await transaction.fetch(_FIND.within(transaction), (PLACE,), 1, list)
            return str(rows[0][0])

        return await self._store.query(find)


def body_of(type: str, at: float, data: bytes) -> str:
    """What is sent of an event (Standard Webhooks 1.0, "Payload structure")."""
    timestamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _json({"type": type, "timestamp": timestamp, "data": msgspec.Raw(data)})


def _deliveries(entries: Sequence[Entry], hearing: Sequence[Any], now: float) -> Iterator[tuple[Any, ...]]:
    endpoints = [(id, tenant, frozenset(msgspec.json.decode(types))) for id, tenant, types in hearing]
    for entry in entries:
        owner = entry.headers.get("tenant", "")
        body = ""
        for id, tenant, types in endpoints:
            if tenant in ("", owner) and (not types or entry.type in types):
                body = body or body_of(entry.type, entry.at, entry.data)
                yield id, f"msg_{entry.id.hex}", entry.type, body, now


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
