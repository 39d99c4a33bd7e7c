"""The rows of deliveries: which are due, what a try made of them, and when they are forgotten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from toque.contract.event import Event
from toque.log.append import append
from toque.messages.webhooks.endpoints import Key, keys_at
from toque.messages.webhooks.outcome import Health, Outcome, Verdict, after, next_try_s
from toque.messages.webhooks.statement import Statement, reading, writing
from toque.store.database import Database, transaction_of
from toque.store.store import Store

__all__ = ["Deliveries", "Due", "EndpointDisabled", "Ready"]

KEPT_S = 7 * 86_400.0
"""How long what was given up, or waits for a disabled endpoint, can be delivered after all: twice the schedule."""

SWEEP_ROWS = 500
"""Rows deleted at a time, some milliseconds of work."""


class EndpointDisabled(Event):
    """Nothing is sent to an endpoint any more: it answered 410 Gone, or has failed for days. Tell its owner."""

    __type__ = "toque.EndpointDisabled"

    endpoint: str
    url: str
    tenant: str
    reason: str


class Ready(Struct, frozen=True):
    """An endpoint that something is due for."""

    id: str
    url: str
    tenant: str
    keys: tuple[str, ...]
    health: Health


class Due(Struct, frozen=True):
    """One delivery whose time has come."""

    id: int
    message: str
    body: str
    tried: int


_READY = reading(
    "SELECT id, url, tenant, secrets, failing_since, paused_until FROM @endpoint AS e "
    "WHERE state = 'enabled' AND paused_until <= :1 AND EXISTS "
    "(SELECT 1 FROM @delivery WHERE endpoint = e.id AND state = 'waiting' AND due <= :1)"
)
_DUE = reading(
    "SELECT id, message, body, tried FROM @delivery "
    "WHERE endpoint = :1 AND state = 'waiting' AND due <= :2 ORDER BY due, id LIMIT :3"
)
# The first of each endpoint, by the index: a long backlog is not read for it.
_NEXT = reading(
    "SELECT min(CASE WHEN due > paused_until THEN due ELSE paused_until END) FROM (SELECT paused_until, "
    "(SELECT min(due) FROM @delivery WHERE endpoint = e.id AND state = 'waiting') AS due "
    "FROM @endpoint AS e WHERE state = 'enabled') AS first WHERE due IS NOT NULL"
)
# Before the request leaves: a process that dies in the middle has used up one try, and nobody has to find it out.
_BEGIN = writing("UPDATE @delivery SET tried = tried + 1, due = :2 WHERE id = :1 AND tried = :3 AND state = 'waiting'")
_GIVE_BACK = writing("UPDATE @delivery SET tried = tried - 1, due = :2 WHERE id = :1 AND tried = :3")
_DELIVERED = writing("DELETE FROM @delivery WHERE id = :1")
_FAILED = writing(
    "UPDATE @delivery SET state = :2, due = :3, status = :4, reason = :5 WHERE id = :1 AND state = 'waiting'"
)
_HEALTH = writing("UPDATE @endpoint SET failing_since = :2, paused_until = :3 WHERE id = :1 AND state = 'enabled'")
_DISABLE = writing("UPDATE @endpoint SET state = 'disabled', reason = :2 WHERE id = :1 AND state = 'enabled'")
_SWEEP = writing(
    f"DELETE FROM @delivery WHERE id IN (SELECT id FROM @delivery WHERE made_at < :1 ORDER BY made_at LIMIT {SWEEP_ROWS})"  # noqa: E501, S608
)


class Deliveries:
    """The deliveries of one store."""

    def __init__(self, store: Store, *, timeout_s: float, disable_after_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._disable_after_s = disable_after_s

    async def ready(self, now: float) -> list[Ready]:
        """The endpoints that something is due for at *now*."""
        rows = await self._read(_READY, now)
        return [
            Ready(id, url, tenant, keys_at(msgspec.json.decode(secrets, type=list[Key]), now), Health(since, paused))
            for id, url, tenant, secrets, since, paused in rows
        ]

    async def next_due(self) -> float | None:
        """When the next one is due; None where none waits."""
        value: float | None = (await self._read(_NEXT))[0][0]
        return value

    async def take(self, endpoint: str, now: float, limit: int) -> list[Due]:
        """Up to *limit* that are due, the oldest first, each with one more try written down."""

        async def act(database: Database) -> list[Due]:
            transaction = transaction_of(database)
            rows = await transaction.fetch(_DUE.within(transaction), (endpoint, now, limit), 0, list)
            begin, taken = _BEGIN.within(transaction), []
            for id, message, body, tried in rows:
                # Not again while it is under way, should the outcome never be written.
                again = now + self._timeout_s + (next_try_s(tried + 1, _UNKNOWN) or 0.0)
                if await transaction.execute(begin, (id, again, tried)):
                    taken.append(Due(id, message, body, tried + 1))
            return taken

        return await self._store.command(act)

    async def finish(self, endpoint: Ready, due: Due, outcome: Outcome, now: float) -> str:
        """Write down what became of *due*; why *endpoint* was disabled, or nothing."""
        health, why = after(endpoint.health, outcome, now, pause_s=self._timeout_s, failing_s_max=self._disable_after_s)

        async def act(database: Database) -> str:
            transaction = transaction_of(database)
            await transaction.execute(*_written(transaction, due, outcome, now))
            if health != endpoint.health:
                values = (endpoint.id, health.failing_since, health.paused_until)
                await transaction.execute(_HEALTH.within(transaction), values)
            if not why or not await transaction.execute(_DISABLE.within(transaction), (endpoint.id, why)):
                return ""
            notice = EndpointDisabled(endpoint.id, endpoint.url, endpoint.tenant, why)
            append(
                transaction, notice.type_name(), notice.__version__,
                key=endpoint.id, headers={"tenant": endpoint.tenant}, data=msgspec.json.encode(notice),
            )  # fmt: skip
            return why

        return await self._store.command(act)

    async def give_back(self, taken: Collection[Due], now: float) -> None:
        """What was *taken* and not tried to the end, because this process stops, is due again and has lost no try."""

        async def act(database: Database) -> None:
            transaction = transaction_of(database)
            rows = [(due.id, now, due.tried) for due in taken]
            await transaction.execute_many(_GIVE_BACK.within(transaction), rows)

        await self._store.command(act)

    async def sweep(self, now: float) -> bool:
        """Forget some of what is older than a week; whether there may be more."""

        async def act(database: Database) -> int:
            transaction = transaction_of(database)
            return await transaction.execute(_SWEEP.within(transaction), (now - KEPT_S,))

        return await self._store.command(act) >= SWEEP_ROWS

    async def _read(self, statement: Statement, *values: Any) -> list[Any]:
        async def act(database: Database) -> list[Any]:
            transaction = transaction_of(database)
            rows: list[Any] = await transaction.fetch(statement.within(transaction), values, 0, list)
            return rows

        return await self._store.query(act)


_UNKNOWN = Outcome(Verdict.FAILED)


def _written(transaction: Any, due: Due, outcome: Outcome, now: float) -> tuple[Any, Sequence[Any]]:
    if outcome.verdict is Verdict.DELIVERED:
        return _DELIVERED.within(transaction), (due.id,)
    pause = next_try_s(due.tried, outcome)
    state, at = ("failed", now) if pause is None else ("waiting", now + pause)
    return _FAILED.within(transaction), (due.id, state, at, outcome.status, outcome.reason)
