"""What a consumer could not handle: kept with its payload and its history, tried again, or waiting for somebody.

The first of its key that is parked holds the others up: they are kept behind it in the order in which they came, until
it is handled, discarded, or (where the handler says so) put aside. Every change is made under the consumer's fence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from toque.log.entry import Entry
from toque.messages.dialects import both
from toque.messages.register import Tenure, hold
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["ERRORS_MAX", "Attempted", "Parked", "Parking", "Trouble"]

T = TypeVar("T")
_Both = Mapping[str, Prepared]

ERRORS_MAX = 10
"""Failures that are kept of one event, the last ones: all of its attempts failed alike, or these tell how not."""

# ruff: noqa: S608 - the pieces are constants.
_FIRST = "(SELECT min(place) FROM toque.parked WHERE consumer = $1 AND key = $2 AND holds)"

# Behind whatever of its key is there; else as it is said.
_ADD = both(
    "INSERT INTO toque.parked (consumer, key, event, pos, type, version, headers, data, at, holds, state, due, "
    "attempt, reason, errors, since) "
    "SELECT $1::int, $2::text, $3::text::uuid, $4::bigint, $5::text, $6::int, $7::text, $8::text, $9::float8, "
    "$10::bool, "
    f"CASE WHEN $10::bool AND {_FIRST} IS NOT NULL THEN 'behind' ELSE $11::text END, "
    "{now} + $12::float8, $13::int, $14::text, $15::text, {now} "
    "WHERE TRUE ON CONFLICT (consumer, event) DO NOTHING",
    True,
)
_START = both(
    "UPDATE toque.parked SET state = 'started', attempt = attempt + 1 WHERE place IN ("
    "SELECT place FROM toque.parked WHERE consumer = $1 AND state = 'waiting' AND due <= {now} "
    "ORDER BY due, place LIMIT $2) "
    "RETURNING place, attempt, crashes, errors, pos, event, type, version, key, headers, data, at",
    True,
)
_AGAIN = both(
    "UPDATE toque.parked SET state = 'waiting', due = {now} + $3::float8, attempt = attempt - $4::int, "
    "errors = $5::text WHERE consumer = $1 AND event = $2::text::uuid",
    True,
)
_DIE = both(
    "UPDATE toque.parked SET state = 'dead', due = NULL, holds = holds AND $3, reason = $4, errors = $5 "
    "WHERE consumer = $1 AND event = $2::text::uuid",
    True,
)
_LEAVE = both("DELETE FROM toque.parked WHERE consumer = $1 AND event = $2::text::uuid", True)
_PROMOTE = both(
    "UPDATE toque.parked SET state = 'waiting', due = {now} "
    f"WHERE consumer = $1 AND state = 'behind' AND place = {_FIRST}",
    True,
)
_IS_HELD = both(f"SELECT {_FIRST}")
_HELD = both("SELECT DISTINCT key FROM toque.parked WHERE consumer = $1 AND holds")
_KNOWN = both("SELECT event FROM toque.parked WHERE consumer = $1 AND CAST(event AS text) IN {each $2}")
_DUE = both(
    "SELECT (SELECT min(place) FROM toque.parked WHERE consumer = $1), "
    "(SELECT min(due) - {now} FROM toque.parked WHERE consumer = $1 AND state = 'waiting')"
)
# A former owner ended when he had handled these, and had still to say so: whatever ended him, it was not them.
_HANDLED = both(
    "DELETE FROM toque.parked AS p WHERE consumer = $1 AND state = 'started' "
    "AND EXISTS (SELECT 1 FROM toque.inbox AS i WHERE i.consumer = $1 AND i.event = p.event)",
    True,
)
# A former owner ended while he tried these.
_SUSPECT = both(
    "UPDATE toque.parked SET crashes = crashes + $2::int, due = {now}, "
    "state = CASE WHEN crashes + $2::int >= $3::int THEN 'dead' ELSE 'waiting' END, "
    "reason = CASE WHEN crashes + $2::int >= $3::int THEN 'crash' ELSE reason END, "
    "holds = holds AND (crashes + $2::int < $3::int OR $4), "
    "attempt = CASE WHEN $2::int = 0 THEN attempt - 1 ELSE attempt END "
    "WHERE consumer = $1 AND state = 'started'",
    True,
)
_PROMOTE_ALL = both(
    "UPDATE toque.parked AS p SET state = 'waiting', due = {now} WHERE consumer = $1 AND state = 'behind' "
    "AND NOT EXISTS (SELECT 1 FROM toque.parked AS e "
    "WHERE e.consumer = $1 AND e.key = p.key AND e.holds AND e.place < p.place)",
    True,
)
# What a former release did not understand, this one may.
_UNKNOWN = both(
    "UPDATE toque.parked SET state = 'waiting', due = {now} "
    "WHERE consumer = $1 AND state = 'dead' AND reason = 'unknown'",
    True,
)


class Trouble(msgspec.Struct, frozen=True):
    """One attempt that failed."""

    at: float
    """Seconds since 1970."""
    attempt: int
    code: str
    error: str


class Parking(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is parked now."""

    entry: Entry
    holds: bool
    """Whether others of its key wait for it."""
    state: str = "waiting"
    due_s: float = 0.0
    attempt: int = 0
    reason: str = ""
    errors: tuple[Trouble, ...] = ()


class Attempted(msgspec.Struct, frozen=True):
    """A parked event that is being tried."""

    entry: Entry
    attempt: int
    crashes: int
    errors: tuple[Trouble, ...]


class Parked:
    """What one store keeps parked, for the owners of its consumers. Every method may raise Fenced."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dialect = store.dialect_name

    async def recover(self, tenure: Tenure, *, has_crashed: bool, crashes_max: int, holds: bool) -> set[str]:
        """Take note of what a former owner left: the keys that are held up.

        Args:
            has_crashed: whether it ended in the middle of what it tried, which counts against that.
            holds: whether what is tried no more holds up its key.
        """

        async def act(run: _Statements) -> set[str]:
            await run(_HANDLED, tenure.id)
            await run(_SUSPECT, tenure.id, int(has_crashed), crashes_max, holds)
            await run(_UNKNOWN, tenure.id)
            await run(_PROMOTE_ALL, tenure.id)
            return {row[0] for row in await run.fetch(_HELD, tenure.id)}

        return await self._change(tenure, act)

    async def add(self, tenure: Tenure, events: Sequence[Parking]) -> None:
        """Park *events*, in their order; those that are there already stay as they are."""
        rows = [_row(tenure, event) for event in events]
        await self._change(tenure, lambda run: run.many(_ADD, rows))

    async def start(self, tenure: Tenure, limit: int) -> list[Attempted]:
        """Mark at most *limit* events that are due as being tried."""
        found = await self._change(tenure, lambda run: run.fetch(_START, tenure.id, limit))
        return [_attempted(row) for row in sorted(found)]

    async def leave(self, tenure: Tenure, entry: Entry) -> bool:
        """It was handled: whether nothing of its key is parked any more."""

        async def act(run: _Statements) -> bool:
            await run(_LEAVE, tenure.id, str(entry.id))
            return await run.promote(tenure, entry)

        return await self._change(tenure, act)

    async def postpone(
        self, tenure: Tenure, entry: Entry, errors: Sequence[Trouble], seconds: float, *, is_refunded: bool = False
    ) -> None:
        """Have it tried again after *seconds*."""
        arguments = (tenure.id, str(entry.id), seconds, int(is_refunded), _written(errors))
        await self._change(tenure, lambda run: run(_AGAIN, *arguments))

    async def bury(self, tenure: Tenure, entry: Entry, errors: Sequence[Trouble], reason: str, *, holds: bool) -> bool:
        """Have it tried no more: whether nothing holds its key any more."""

        async def act(run: _Statements) -> bool:
            await run(_DIE, tenure.id, str(entry.id), holds, reason, _written(errors))
            return await run.promote(tenure, entry)

        return await self._change(tenure, act)

    async def due_s(self, tenure: Tenure) -> tuple[bool, float | None]:
        """Whether anything is parked, and in how many seconds the next one is due."""
        found = await self._store.query(lambda database: _Statements(database, self._dialect).fetch(_DUE, tenure.id))
        return found[0][0] is not None, found[0][1]

    async def known(self, tenure: Tenure, entries: Sequence[Entry]) -> set[UUID]:
        """Which of *entries* are parked already."""
        ids = msgspec.json.encode([str(entry.id) for entry in entries]).decode()
        found = await self._store.query(
            lambda database: _Statements(database, self._dialect).fetch(_KNOWN, tenure.id, ids)
        )
        return {UUID(str(row[0])) for row in found}

    async def _change(self, tenure: Tenure, act: Callable[[_Statements], Awaitable[T]]) -> T:
        async def run(database: Database) -> T:
            await hold(database, self._dialect, tenure)
            return await act(_Statements(database, self._dialect))

        return await self._store.command(run)


class _Statements:
    """Runs statements in one transaction."""

    def __init__(self, database: Database, dialect: str) -> None:
        self._transaction = transaction_of(database)
        self._dialect = dialect

    async def __call__(self, statement: _Both, *arguments: Any) -> int:
        return await self._transaction.execute(statement[self._dialect], arguments)

    async def many(self, statement: _Both, rows: Sequence[Sequence[Any]]) -> int:
        return await self._transaction.execute_many(statement[self._dialect], rows)

    async def fetch(self, statement: _Both, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self._transaction.fetch(statement[self._dialect], arguments, 0, list)
        return rows

    async def promote(self, tenure: Tenure, entry: Entry) -> bool:
        """Let the next of the key go on, if there is one and nothing before it: whether there is none."""
        if not entry.key:
            return True
        await self(_PROMOTE, tenure.id, entry.key)
        return (await self.fetch(_IS_HELD, tenure.id, entry.key))[0][0] is None


def _row(tenure: Tenure, event: Parking) -> tuple[Any, ...]:
    entry = event.entry
    headers = msgspec.json.encode(entry.headers).decode()
    return (
        *(tenure.id, entry.key, str(entry.id), entry.pos, entry.type, entry.version, headers, entry.data.decode()),
        *(entry.at, event.holds, event.state, event.due_s, event.attempt, event.reason, _written(event.errors)),
    )


def _attempted(row: Sequence[Any]) -> Attempted:
    _, attempt, crashes, errors, pos, event, type, version, key, headers, data, at = row
    entry = Entry(pos, UUID(str(event)), type, version, key, msgspec.json.decode(headers), data.encode(), at)
    return Attempted(entry, attempt, crashes, msgspec.json.decode(errors, type=tuple[Trouble, ...]))


def _written(errors: Sequence[Trouble]) -> str:
    return msgspec.json.encode(list(errors)[-ERRORS_MAX:]).decode()
