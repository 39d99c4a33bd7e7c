"""What an operator does beside a running app: look at consumers and at what is parked, and decide about it.

Every change is one transaction that holds the consumer's row, as its owner's changes do; the owner feels it within a
second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from toque.log.reader import reader_of
from toque.messages.dialects import both
from toque.messages.inbox import Inbox
from toque.messages.lag import LAGS, Lag, Place, lags_in, written
from toque.messages.parked import Trouble
from toque.messages.register import Register, Row
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["ConsumerView", "Operator", "ParkedView"]

_COUNTS = both("SELECT state, count(*) FROM toque.parked WHERE consumer = $1 GROUP BY state")
_KEYS = both("SELECT count(DISTINCT key) FROM toque.parked WHERE consumer = $1 AND holds")
_LIST = both(
    "SELECT c.name, p.event, p.type, p.version, p.key, p.state, p.attempt, p.crashes, p.reason, p.since, p.due, "
    "p.headers, p.data, p.errors FROM toque.parked AS p JOIN toque.consumer AS c ON c.id = p.consumer "
    "WHERE ($1::text = '' OR c.name = $1::text) AND ($2::text = '' OR CAST(p.event AS text) = $2::text) "
    "ORDER BY p.place LIMIT $3"
)
_LOCK = both("SELECT id FROM toque.consumer WHERE name = $1 FOR NO KEY UPDATE", True)
_RETRY = both(
    "UPDATE toque.parked SET state = 'waiting', due = {now}, attempt = 0, crashes = 0 "
    "WHERE consumer = $1 AND state IN ('dead', 'waiting') AND ($2::text = '' OR CAST(event AS text) = $2::text)",
    True,
)
_EDIT = both(
    "UPDATE toque.parked SET data = $3, version = $4 "
    "WHERE consumer = $1 AND CAST(event AS text) = $2::text AND state <> 'started'",
    True,
)
_FIND = both("SELECT key FROM toque.parked WHERE consumer = $1 AND CAST(event AS text) = $2::text")
_DELETE = both("DELETE FROM toque.parked WHERE consumer = $1 AND CAST(event AS text) = $2::text", True)
_PROMOTE = both(
    "UPDATE toque.parked SET state = 'waiting', due = {now} WHERE consumer = $1 AND state = 'behind' "
    "AND place = (SELECT min(place) FROM toque.parked WHERE consumer = $1 AND key = $2 AND holds)",
    True,
)
_SET_STATE = both("UPDATE toque.consumer SET state = $2 WHERE id = $1 AND state <> 'done'", True)
_FORGET_PARKED = both("DELETE FROM toque.parked WHERE consumer = $1", True)
_FORGET = both("DELETE FROM toque.consumer WHERE id = $1", True)
_FORGET_OTHERS = (
    both("DELETE FROM toque.relay WHERE name = $1", True),
    both("DELETE FROM toque.webhook_place WHERE name = $1", True),
)
_NOW = both("SELECT {now}")
_RING = Prepared("NOTIFY toque", True)

NONE = Lag(0, None)


class ConsumerView(msgspec.Struct, frozen=True):
    """A consumer, and how it is."""

    name: str
    handler: str
    state: str
    is_owned: bool
    lag: int
    """Events of its type that it has still to come to, as far as they are counted; those at work are among them."""
    oldest_at: float | None
    """When the first of them was published."""
    parked: dict[str, int]
    """How many events are parked, by their state."""
    keys: int
    """How many keys are held up."""


class ParkedView(msgspec.Struct, frozen=True):
    """A parked event."""

    consumer: str
    id: str
    type: str
    version: int
    key: str
    state: str
    attempt: int
    crashes: int
    reason: str
    since: float
    due: float | None
    headers: dict[str, str]
    data: msgspec.Raw
    errors: list[Trouble]


class Operator:
    """Acts on the consumers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dialect = store.dialect_name
        self._register = Register(store)
        self._inbox = Inbox(store)

    async def consumers(self, types: dict[str, str]) -> list[ConsumerView]:
        """All consumers by name.

        Args:
            types: the event of each handler that the app has.
        """
        rows = sorted(await self._register.rows(), key=lambda row: row.name)
        lags = await self._lags(_place(row, types.get(row.handler)) for row in rows if row.state != "done")
        return [await self._view(row, lags.get(row.name, NONE)) for row in rows]

    async def _view(self, row: Row, lag: Lag) -> ConsumerView:
        parked = await self.counts(row.id)
        keys = (await self._fetch(_KEYS[self._dialect], row.id))[0][0]
        return ConsumerView(row.name, row.handler, row.state, row.is_open, lag.events, lag.oldest_at, parked, keys)

    async def counts(self, id: int) -> dict[str, int]:
        """How many events are parked for a consumer, by their state."""
        rows = await self._fetch(_COUNTS[self._dialect], id)
        return {state: count for state, count in rows}  # noqa: C416 - rows of a driver

    async def row(self, name: str) -> Row | None:
        """One consumer; None where there is none."""
        return next((row for row in await self._register.rows() if row.name == name), None)

    async def behind(self, row: Row, type: str) -> Lag:
        """The events of *type* that a consumer has still to come to, as far as they are counted."""
        return (await self._lags([_place(row, type)]))[row.name]

    async def _lags(self, places: Iterable[Place]) -> dict[str, Lag]:
        return lags_in(await self._fetch(LAGS[self._dialect], written(places)))

    async def parked(self, consumer: str = "", event: str = "", limit: int = 100) -> list[ParkedView]:
        """What is parked, in its order; of one consumer, or one event, where they are named."""
        return [_parked(row) for row in await self._fetch(_LIST[self._dialect], consumer, event, limit)]

    async def retry(self, consumer: str, event: str = "") -> int:
        """Have it tried again now, with all its attempts before it, or all that are not behind others: how many."""
        return await self._change(consumer, lambda run, id: run(_RETRY, id, event))

    async def edit(self, consumer: str, event: str, data: bytes, version: int) -> bool:
        """Give it another payload, which the next attempt reads."""
        return await self._change(consumer, lambda run, id: run(_EDIT, id, event, data.decode(), version)) == 1

    async def discard(self, consumer: str, event: str) -> bool:
        """Have it count as handled; those behind it go on."""

        async def act(run: _Run, id: int) -> int:
            found = await run.fetch(_FIND, id, event)
            if not found:
                return 0
            # Whoever is trying it at this moment finds it handled, or has handled it.
            await self._inbox.claim(run.database, id, UUID(event))
            await run(_DELETE, id, event)
            await run(_PROMOTE, id, found[0][0])
            return 1

        return await self._change(consumer, act) == 1

    async def set_state(self, consumer: str, state: str) -> bool:
        """Pause it, or let it go on."""
        return await self._change(consumer, lambda run, id: run(_SET_STATE, id, state)) == 1

    async def forget(self, consumer: str) -> bool:
        """Remove a consumer whose handler is no more, and what is parked for it; or the place of a relay or of the
        webhooks, which begin anew if they are there again."""

        async def act(run: _Run, id: int) -> int:
            await run(_FORGET_PARKED, id)
            return await run(_FORGET, id)

        async def others(database: Database) -> int:
            run = _Run(database, self._dialect)
            return sum([await run(statement, consumer) for statement in _FORGET_OTHERS])

        return await self._change(consumer, act) == 1 or await self._store.command(others) == 1

    async def replay(self, handler: str, name: str, *, at: float = 0.0, position: int | None = None) -> bool:
        """Have *handler* handle again, as the consumer *name*, what was published until now: from *at* on, or what has
        *position* or a higher one."""
        until = (await self._fetch(_NOW[self._dialect]))[0][0]
        reader = reader_of(self._store)
        place = await (reader.since(at) if position is None else reader.at(position))
        is_new = await self._register.add(name, handler, place, until)
        await self.ring()
        return is_new

    async def ring(self) -> None:
        """Have the processes that work look; on SQLite the change itself is heard."""
        if self._dialect == "postgresql":
            await execute(self._store, _RING)

    async def _change(self, consumer: str, act: Any) -> int:
        async def run(database: Database) -> int:
            statements = _Run(database, self._dialect)
            found = await statements.fetch(_LOCK, consumer)
            count: int = await act(statements, found[0][0]) if found else 0
            return count

        count = await self._store.command(run)
        await self.ring()
        return count

    async def _fetch(self, prepared: Prepared, *arguments: Any) -> list[Any]:
        return await look(self._store, prepared, *arguments)


class _Run:
    def __init__(self, database: Database, dialect: str) -> None:
        self.database = database
        self._dialect = dialect

    async def __call__(self, statement: Any, *arguments: Any) -> int:
        return await transaction_of(self.database).execute(statement[self._dialect], arguments)

    async def fetch(self, statement: Any, *arguments: Any) -> list[Any]:
        rows: list[Any] = await transaction_of(self.database).fetch(statement[self._dialect], arguments, 0, list)
        return rows


def _place(row: Row, type: str | None) -> Place:
    """Where a consumer is; of one whose handler is not known, every event counts."""
    return Place(name=row.name, cursor=row.cursor, types=None if type is None else (type,), before=row.until)


def _parked(row: Sequence[Any]) -> ParkedView:
    *told, headers, data, errors = row
    consumer, id, *rest = told
    history = msgspec.json.decode(errors, type=list[Trouble])
    values = [consumer, str(id), *rest, msgspec.json.decode(headers), msgspec.Raw(data.encode()), history]
    return ParkedView(*values)
