"""The relay: what is in the log is published to a broker, in the order of its keys, at least once.

One process of an app relays to a broker: the one that has claimed it. It moves its cursor when the broker has
confirmed, so one that dies in between leaves the next one to publish a batch again, under the same ids. A process that
was frozen, and does not know that another has taken over, publishes at most what it had read: it cannot move the cursor
any more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from toque.call.counts import Count
from toque.call.turns import Turns
from toque.log.cursor import BEGINNING, Cursor
from toque.log.entry import Entry
from toque.log.reader import Reader
from toque.log.tail import Tail
from toque.messages.behalf import TRACEPARENT
from toque.messages.brokers import Broker, Message
from toque.messages.cloudevents import Binding, CloudEvent, to_binary
from toque.messages.dialects import both
from toque.store.own import change, execute, look
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["ORIGIN", "Relay", "binding_of"]

log = logging.getLogger("toque.brokers")

ORIGIN = "origin"
"""The header of an event that came from a broker: it is not sent to one again."""

BATCH = 200
"""Events published at a time: what is published again after a crash, and few enough that all are confirmed within the
deadline by a broker that takes ten milliseconds for each of a key."""

PUBLISH_S = 10.0

CLAIM_S = 1.0
"""Between two tries to become the one that relays: after the death of another, events go on this much later."""

LOOK_S = 1.0
"""Between two looks whether a relay without news still has its cursor: a restored database gives it to nobody."""

AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""Between two tries to publish, twice as long each time."""

_BEGIN = msgspec.json.encode(BEGINNING).decode()
_TAKE = {
    "postgresql": Prepared(
        "INSERT INTO toque.relay (name, fence, cursor) VALUES ($1, 1, $2) "
        "ON CONFLICT (name) DO UPDATE SET fence = relay.fence + 1 RETURNING fence, cursor",
        True,
    ),
    "sqlite": Prepared(
        "INSERT INTO toque_relay (name, fence, cursor) VALUES (?, 1, ?) "
        "ON CONFLICT (name) DO UPDATE SET fence = toque_relay.fence + 1 RETURNING fence, cursor",
        True,
    ),
}
_KNOW = {
    "postgresql": Prepared(
        "INSERT INTO toque.relay (name, fence, cursor) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING", True
    ),
    "sqlite": Prepared("INSERT INTO toque_relay (name, fence, cursor) VALUES (?, 0, ?) ON CONFLICT DO NOTHING", True),
}
_FENCE = both("SELECT fence FROM toque.relay WHERE name = $1")
_MOVE = {
    "postgresql": Prepared("UPDATE toque.relay SET cursor = $3 WHERE name = $1 AND fence = $2", True),
    "sqlite": Prepared("UPDATE toque_relay SET cursor = ?3 WHERE name = ?1 AND fence = ?2", True),
}

_BINDINGS: dict[str, Binding] = {
    "nats": "nats", "tls": "nats", "amqp": "amqp", "amqps": "amqp", "kafka": "kafka", "mqtt": "mqtt", "mqtts": "mqtt",
}  # fmt: skip


def binding_of(name: str) -> Binding:
    """How CloudEvents are written for the broker at an address; Redis has no binding, and gets that of HTTP."""
    return _BINDINGS.get(urlsplit(name).scheme, "nats")


class Relay:
    """Publishes the log to one broker. A service of `Messages`.

    Args:
        source: what CloudEvents calls this app, a URI reference.
        types: the events that are published; None for all.
    """

    def __init__(
        self, store: Store, reader: Reader, tail: Tail, broker: Broker, *, source: str,
        types: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._reader = reader
        self._tail = tail
        self._broker = broker
        self._source = source
        self._types = None if types is None else frozenset(types)
        self._binding: Binding = binding_of(broker.name)
        self._name = f"relay {broker.name}"
        self._turns = Turns(self._turn, log, f"{self._name} waits", again_s=AGAIN_S, again_max_s=AGAIN_MAX_S)
        self._tenure: tuple[int, Cursor] | None = None
        self._published = 0
        self._looked_at = monotonic()

    def counts(self) -> Iterator[Count]:
        """What was done here."""
        yield Count("relay_events", {"broker": self._broker.name}, self._published)

    async def start(self) -> None:
        self._is_known = self._is_connected = False
        self._tail.on_news(self._turns.wake)
        self._tail.on_lost(self._forget)
        self._turns.start()

    async def stop(self) -> None:
        await self._turns.stop()
        await self._broker.close()
        await self._tail.release(self._name)

    def _forget(self) -> None:
        self._tenure = None

    async def _turn(self) -> float | None:
        if not self._is_known:
            # Before the broker is: how far it is behind is told, and events are kept for it, also where it never comes.
            await execute(self._store, _KNOW[self._store.dialect_name], self._name, _BEGIN)
            self._is_known = True
        if not self._is_connected:
            await self._broker.connect()
            self._is_connected = True
        # What is too large for the broker fails, again and again, and all behind it waits: none is lost silently.
        if await self.step():
            return 0.0
        return CLAIM_S if self._tenure is None else None

    async def step(self) -> bool:
        """Publish the next batch, if this process relays; whether there may be more. Raises: Unavailable, TooLarge."""
        if not await self._tail.claim(self._name):
            self._tenure = None
            return False
        if self._tenure is None:
            self._tenure = await self._take()
        fence, cursor = self._tenure
        entries, after = await self._reader.read(cursor, BATCH)
        batch = [self._message(entry) for entry in entries if self._is_ours(entry)]
        await self._broker.publish(batch, PUBLISH_S)
        self._published += len(batch)
        # A caught-up cursor differs with every snapshot; only what was read is worth a write.
        if not (await self._move(fence, after) if entries else await self._is_held(fence)):
            log.warning("%s was taken over by another process, or the database was restored", self._name)
            self._tenure = None
            await self._tail.release(self._name)
            return False
        if self._tenure is not None:
            self._tenure = (fence, after)
        return bool(entries) or not after.is_caught_up

    def _is_ours(self, entry: Entry) -> bool:
        return ORIGIN not in entry.headers and (self._types is None or entry.type in self._types)

    def _message(self, entry: Entry) -> Message:
        extensions = {"dataversion": str(entry.version)}
        if entry.key:
            extensions["partitionkey"] = entry.key
        # On whose behalf it was done stays here, but for the tenant: roles mean something in this app alone.
        for name in (TRACEPARENT, "tenant"):
            if name in entry.headers:
                extensions[name] = entry.headers[name]
        event = CloudEvent(
            id=str(entry.id),
            source=self._source,
            type=entry.type,
            time=datetime.fromtimestamp(entry.at, UTC).isoformat(),
            datacontenttype="application/json",
            data=entry.data,
            extensions=extensions,
        )
        headers, body = to_binary(event, self._binding)
        return Message(id=event.id, topic=entry.type, key=entry.key, headers=headers, body=body)

    async def _take(self) -> tuple[int, Cursor]:
        """Become the owner of the cursor; a new relay begins with the oldest event that is kept."""
        ((fence, place),) = await change(self._store, _TAKE[self._store.dialect_name], self._name, _BEGIN)
        return fence, msgspec.json.decode(place, type=Cursor)

    async def _is_held(self, fence: int) -> bool:
        """Whether the cursor is still this process's: after a restore it is not, and lies before the one known here."""
        if monotonic() - self._looked_at < LOOK_S:
            return True
        self._looked_at = monotonic()
        found = await look(self._store, _FENCE[self._store.dialect_name], self._name)
        return [row[0] for row in found] == [fence]

    async def _move(self, fence: int, cursor: Cursor) -> bool:
        place = msgspec.json.encode(cursor).decode()
        return await execute(self._store, _MOVE[self._store.dialect_name], self._name, fence, place) == 1
