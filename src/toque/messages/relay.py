"""The relay: what is in the log is published to a broker, in the order of its keys, at least once.

One process of an app relays to a broker: the one that has claimed it. It moves its cursor when the broker has
confirmed, so one that dies in between leaves the next one to publish a batch again, under the same ids. A process that
was frozen, and does not know that another has taken over, publishes at most what it had read: it cannot move the cursor
any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from random import uniform
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from toque.call.counts import Count
from toque.call.tasks import cancel
from toque.contract.errors import Error
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
        self._news = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._tenure: tuple[int, Cursor] | None = None
        self._published = 0
        self._looked_at = monotonic()

    def counts(self) -> Iterator[Count]:
        """What was done here."""
        yield Count("relay_events", {"broker": self._broker.name}, self._published)

    async def start(self) -> None:
        self._tail.on_news(self._news.set)
        self._tail.on_lost(self._forget)
        self._working = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        await cancel(self._working)
        await self._broker.close()
        await self._tail.release(self._name)

    def _forget(self) -> None:
        self._tenure = None

    async def _work(self) -> None:
        again = AGAIN_S
        is_connected = False
        while True:
            self._news.clear()
            try:
                if not is_connected:
                    await self._broker.connect()
                    is_connected = True
                has_more = await self.step()
            except Error as error:
                # What is too large for the broker waits here too, and all behind it: it must not be lost silently.
                log.warning("%s waits: %s", self._name, error)
                await asyncio.sleep(uniform(again / 2, again))  # noqa: S311 - to spread, not to hide
                again = min(again * 2, AGAIN_MAX_S)
                continue
            except Exception:
                log.exception("%s failed", self._name)
                await asyncio.sleep(AGAIN_MAX_S)
                continue
            again = AGAIN_S
            if not has_more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLAIM_S if self._tenure is None else None):
                        await self._news.wait()

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
            log.warning("%s was taken over by another process", self._name)
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
        begin = msgspec.json.encode(BEGINNING).decode()
        ((fence, place),) = await change(self._store, _TAKE[self._store.dialect_name], self._name, begin)
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
