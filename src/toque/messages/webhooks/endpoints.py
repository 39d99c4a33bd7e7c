"""The endpoints that webhooks go to: rows, which operations and the command line change.

An endpoint belongs to a tenant and hears of that tenant's events alone; one without a tenant is the app's own, and
hears of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import msgspec
from msgspec import Struct

from toque.contract.errors import Conflict, Fault, Invalid, NotFound
from toque.http_client.target import Target
from toque.log.append import uuid7
from toque.messages.webhooks.keys import new_pair, new_secret
from toque.messages.webhooks.statement import Statement, reading, writing
from toque.store.transaction import Transaction

__all__ = ["ENDPOINTS_MAX", "Endpoint", "Endpoints", "Key", "Rules", "keys_at"]

ENDPOINTS_MAX = 100
"""Endpoints of one tenant; every event is compared with each. Stripe takes 16."""

ROTATION_S = 86_400.0
"""How long the key before the present one signs too: a receiver has a day to take the new one, as at Stripe and
Svix."""

State = Literal["enabled", "disabled"]


class Key(Struct, frozen=True):
    """A key that signs until a moment, or for ever."""

    text: str
    until: float | None = None

    def __repr__(self) -> str:
        return "Key(****)"


class Endpoint(Struct, frozen=True):
    """An endpoint as others may see it: without its keys."""

    id: str
    url: str
    types: tuple[str, ...]
    """The events that it hears of; empty for all that the app sends."""
    state: State
    reason: str
    """Why it is disabled."""
    failing_since: float | None
    """When it began to fail, seconds since 1970."""
    tenant: str
    made_at: float


class Rules(Struct, frozen=True):
    """What an endpoint may be."""

    types: frozenset[str] | None
    """The events that the app sends; None where that is not asked."""
    takes_http: bool
    """Whether it may be reached without TLS."""
    check: Callable[[Target], None]
    """Refuses what will never be delivered to, as far as that is known without asking for a name."""


_COLUMNS = "id, url, types, state, reason, failing_since, tenant, made_at"
_OWN = "id = :1 AND (tenant = :2 OR :2 IS NULL)"

_ADD = writing(
    "INSERT INTO @endpoint (id, tenant, url, types, secrets, state, made_at) VALUES (:1, :2, :3, :4, :5, 'enabled', :6)"
)
_COUNT = reading("SELECT count(*) FROM @endpoint WHERE tenant = :1")
_LIST = reading(f"SELECT {_COLUMNS} FROM @endpoint WHERE tenant = :1 OR :1 IS NULL ORDER BY made_at, id")  # noqa: S608
_FIND = reading(f"SELECT {_COLUMNS} FROM @endpoint WHERE {_OWN}")  # noqa: S608 - constants
_KEYS = reading(f"SELECT secrets FROM @endpoint WHERE {_OWN}")  # noqa: S608 - constants
_ROTATE = writing(f"UPDATE @endpoint SET secrets = :3 WHERE {_OWN}")  # noqa: S608 - constants
_STATE = writing(
    f"UPDATE @endpoint SET state = :3, reason = :4, failing_since = NULL, paused_until = 0 WHERE {_OWN}"  # noqa: S608
)
_REMOVE = writing(f"DELETE FROM @endpoint WHERE {_OWN}")  # noqa: S608 - constants
_REMOVE_DELIVERIES = writing("DELETE FROM @delivery WHERE endpoint = :1")
_RETRY = writing("UPDATE @delivery SET state = 'waiting', due = :2, tried = 0 WHERE endpoint = :1 AND state = 'failed'")


class Endpoints:
    """The endpoints of one tenant, within one transaction; with None those of all, for who keeps the app."""

    def __init__(self, transaction: Transaction, tenant: str | None, rules: Rules) -> None:
        self._transaction = transaction
        self._tenant = tenant
        self._rules = rules

    async def add(
        self, url: str, types: Collection[str], *, tenant: str, kind: Literal["hmac", "ed25519"]
    ) -> tuple[Endpoint, str]:
        """A new endpoint, and the key that its owner verifies with: it is shown this once."""
        self._check(url, types)
        if (await self._fetch(_COUNT, tenant))[0][0] >= ENDPOINTS_MAX:
            raise Conflict(f"there are {ENDPOINTS_MAX} endpoints, and no more are taken; remove one")
        own, shown = _new_key(kind)
        id, now = f"ep_{uuid7().hex}", time.time()
        chosen = sorted(set(types))
        await self._run(_ADD, id, tenant, url, _json(chosen), _json([Key(own)]), now)
        return Endpoint(id, url, tuple(chosen), "enabled", "", None, tenant, now), shown

    async def all(self) -> list[Endpoint]:
        return [_endpoint(row) for row in await self._fetch(_LIST, self._tenant)]

    async def find(self, id: str) -> Endpoint:
        """Raises: NotFound."""
        rows = await self._fetch(_FIND, id, self._tenant)
        if not rows:
            raise _unknown(id)
        return _endpoint(rows[0])

    async def keys(self, id: str) -> tuple[str, ...]:
        """The keys that sign now. Raises: NotFound."""
        return keys_at(await self._secrets(id), time.time())

    async def rotate(self, id: str, *, kept_s: float) -> str:
        """Sign with a new key, of the same kind, and for *kept_s* seconds with the present one too; the new key as its
        owner needs it. Raises: NotFound."""
        present = (await self._secrets(id))[0]
        own, shown = _new_key("ed25519" if present.text.startswith("whsk_") else "hmac")
        kept = [Key(present.text, time.time() + kept_s)] if kept_s > 0 else []
        await self._run(_ROTATE, id, self._tenant, _json([Key(own), *kept]))
        return shown

    async def set_state(self, id: str, state: State, reason: str = "") -> None:
        """Raises: NotFound."""
        if not await self._run(_STATE, id, self._tenant, state, reason):
            raise _unknown(id)

    async def retry(self, id: str) -> int:
        """Deliver anew what was given up; how many. Raises: NotFound."""
        await self.find(id)
        return await self._run(_RETRY, id, time.time())

    async def remove(self, id: str) -> None:
        """The endpoint, and what waits for it, is no more. Raises: NotFound."""
        if not await self._run(_REMOVE, id, self._tenant):
            raise _unknown(id)
        await self._run(_REMOVE_DELIVERIES, id)

    def _check(self, url: str, types: Collection[str]) -> None:
        try:
            target = Target.read(url)
        except ValueError as error:
            raise _invalid("$.url", str(error), url) from None
        if target.scheme != "https" and not self._rules.takes_http:
            raise _invalid("$.url", "a webhook goes to https:// only", url)
        self._rules.check(target)
        for name in types if self._rules.types is not None else ():
            if name not in self._rules.types:  # type: ignore[operator]
                known = sorted(self._rules.types or ())
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise _invalid("$.types", f"the app sends no such event; {hint}", name)

    async def _secrets(self, id: str) -> list[Key]:
        rows = await self._fetch(_KEYS, id, self._tenant)
        if not rows:
            raise _unknown(id)
        return msgspec.json.decode(rows[0][0], type=list[Key])

    async def _fetch(self, statement: Statement, *values: Any) -> list[Any]:
        rows: list[Any] = await self._transaction.fetch(statement.within(self._transaction), values, 0, list)
        return rows

    async def _run(self, statement: Statement, *values: Any) -> int:
        return await self._transaction.execute(statement.within(self._transaction), values)


def keys_at(keys: Sequence[Key], now: float) -> tuple[str, ...]:
    """Those of *keys* that sign at *now*."""
    return tuple(key.text for key in keys if key.until is None or key.until > now)


def _new_key(kind: Literal["hmac", "ed25519"]) -> tuple[str, str]:
    """A new key as it is kept, and as its owner needs it to verify."""
    if kind == "hmac":
        secret = new_secret()
        return secret, secret
    return new_pair()


def _endpoint(row: Sequence[Any]) -> Endpoint:
    id, url, types, state, reason, failing_since, tenant, made_at = row
    return Endpoint(id, url, tuple(msgspec.json.decode(types)), state, reason, failing_since, tenant, made_at)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _unknown(id: str) -> NotFound:
    return NotFound(f"There is no webhook endpoint {id[:60]!r}.")


def _invalid(path: str, message: str, received: str) -> Invalid:
    fault = Fault(path=path, message=message, received=received[:100])
    return Invalid(f"the endpoint cannot be used: {message}", faults=[fault])
