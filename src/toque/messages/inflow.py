"""The way in: a broker's messages are written into the log, once each, and acknowledged after the commit.

From there they are events like the app's own: the same handlers see them, with the same guarantees. One process of an
app takes in from a broker, the one that has claimed it, so that the log keeps the order of keys that the broker gave.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from toque.call.turns import Turns
from toque.contract.errors import Error
from toque.log.append import append
from toque.log.tail import Tail
from toque.messages.behalf import TRACEPARENT
from toque.messages.brokers import Broker, Message, Subscription
from toque.messages.cloudevents import Binding, CloudEvent, from_message
from toque.messages.outbox import KEY_CHARS_MAX
from toque.messages.relay import ORIGIN, binding_of
from toque.store.database import Database, transaction_of
from toque.store.own import execute
from toque.store.prepared import Prepared
from toque.store.store import Store

__all__ = ["Inflow"]

log = logging.getLogger("toque.brokers")

BATCH = 100
"""Messages written in one transaction."""

WAIT_S = 5.0
"""How long one look waits for messages: after so long it is seen whether the claim is still ours."""

CLAIM_S = 1.0

AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
"""Between two tries, twice as long each time."""

KNOWN_S = 7 * 86_400.0
"""How long a message's id is known: as long as brokers of our making keep it."""

_VERSION = re.compile("[0-9]{1,9}")
"""A version that fits an integer of PostgreSQL."""

_ODD = re.compile("[\0\ud800-\udfff]")

SWEEP_S, SWEEP_ROWS = 60.0, 5000
"""How often, and how many at a time, ids are forgotten; at once again where there may be more, so that those of a busy
topic do not become ever more."""

_ARRIVE = {
    "postgresql": Prepared(
        "INSERT INTO toque.arrived (source, id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", True
    ),
    "sqlite": Prepared("INSERT INTO toque_arrived (source, id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", True),
}
_SWEEP = {
    "postgresql": Prepared(
        "DELETE FROM toque.arrived WHERE (source, id) IN "
        "(SELECT source, id FROM toque.arrived WHERE at < $1 ORDER BY at LIMIT $2)",
        True,
    ),
    "sqlite": Prepared(
        "DELETE FROM toque_arrived WHERE (source, id) IN "
        "(SELECT source, id FROM toque_arrived WHERE at < ? ORDER BY at LIMIT ?)",
        True,
    ),
}


class Inflow:
    """Takes in from one broker. A service of `Messages`.

    Args:
        topics: what is taken in.
        group: the app's name at the broker, which keeps its place under it.
        source: what CloudEvents calls this app: what it published itself does not come back to it.
    """

    def __init__(
        self, store: Store, tail: Tail, broker: Broker, *, topics: Sequence[str], group: str, source: str
    ) -> None:
        self._store = store
        self._tail = tail
        self._broker = broker
        self._topics = topics
        self._group = group
        self._source = source
        self._binding: Binding = binding_of(broker.name)
        self._name = f"inflow {broker.name}"
        self._turns = Turns(self._turn, log, f"{self._name} waits", again_s=AGAIN_S, again_max_s=AGAIN_MAX_S)
        self._subscription: Subscription | None = None
        self._swept_at = 0.0

    async def start(self) -> None:
        self._is_connected = False
        self._turns.start()

    async def stop(self) -> None:
        await self._turns.stop()
        if self._subscription is not None:
            await self._subscription.close()
        await self._broker.close()
        await self._tail.release(self._name)

    async def _turn(self) -> float:
        if not self._is_connected:
            await self._broker.connect()
            self._is_connected = True
        await self.step()
        return 0.0

    async def step(self) -> None:
        """Take in what comes, if this process is the one that does. Raises: Unavailable."""
        if not await self._tail.claim(self._name):
            await self._leave()
            await asyncio.sleep(CLAIM_S)
            return
        if self._subscription is None:
            self._subscription = await self._broker.subscribe(self._topics, self._group, limit=BATCH)
        found = await self._subscription.receive(BATCH, WAIT_S)
        if found:
            try:
                await self._keep([incoming.message for incoming in found])
            except Error:
                # All of it comes again, before what is behind it; given back one by one it would not.
                await self._leave()
                raise
            self._tail.ring()
            await asyncio.gather(*(incoming.ack() for incoming in found), return_exceptions=True)
        await self._sweep()

    async def _leave(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.close()

    async def _keep(self, messages: Sequence[Message]) -> None:
        """Write those of *messages* into the log that were not written before."""
        now = time.time()

        async def keep(database: Database) -> None:
            transaction = transaction_of(database)
            arrive = _ARRIVE[self._store.dialect_name]
            for message in messages:
                event = self._event(message)
                if event.source == self._source:
                    continue
                # Without an id, nothing tells a message that came again from one like it.
                if event.id and not await transaction.execute(arrive, (_kept(event.source), _kept(event.id), now)):
                    continue
                headers = {ORIGIN: _kept(event.source), "origin_id": _kept(event.id)}
                headers |= {n: _kept(event.extensions[n]) for n in (TRACEPARENT, "tenant") if n in event.extensions}
                version = int(event.extensions.get("dataversion", "1"))
                type, key = _kept(event.type), _kept(event.key or message.key)
                append(transaction, type, version, key=key, headers=headers, data=event.data)

        await self._store.command(keep)

    def _event(self, message: Message) -> CloudEvent:
        """What came, as an event with JSON in it. What is none keeps its bytes as base64, for people to look at."""
        try:
            event = from_message(message.headers, message.body, self._binding)
        except Exception as error:
            # Whatever it is, it must not hold up what came with it.
            faults = getattr(error, "faults", error)
            log.warning("%s: %s says it is a CloudEvent and is not: %s", self._name, message.id, faults)
            event = None
        if event is None:
            place = f"{self._broker.name}/{message.topic}"
            event = CloudEvent(id=message.id, source=place, type=message.topic, data=message.body)
        if _VERSION.fullmatch(event.extensions.get("dataversion", "1")) is None or not _is_json(event.data):
            kept = msgspec.json.encode({"base64": event.data})
            extensions = {n: value for n, value in event.extensions.items() if n != "dataversion"}
            event = msgspec.structs.replace(event, data=kept, extensions=extensions)
        return event

    async def _sweep(self) -> None:
        """Forget the ids of messages that cannot come again."""
        now = time.time()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        if await execute(self._store, _SWEEP[self._store.dialect_name], now - KNOWN_S, SWEEP_ROWS) >= SWEEP_ROWS:
            self._swept_at = 0.0


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (ValueError, RecursionError):  # What is nested too deep, no handler can read either.
        return False
    return True


def _kept(text: str) -> str:
    """*text* as it came, or its digest where that is more than an index takes, or what no database holds as text: equal
    ones stay equal, so that ids are known again and keys keep their order."""
    if len(text) <= KEY_CHARS_MAX and _ODD.search(text) is None:
        return text
    return sha256(text.encode(errors="surrogatepass")).hexdigest()
