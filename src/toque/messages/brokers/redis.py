"""Redis or Valkey streams, by redis-py: one stream for each topic, and a consumer group in it for each group.

A stream is trimmed below what its slowest group has acknowledged, never by its length. One that no group reads grows
until the server's memory is full, and publishing is refused then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

from msgspec import DecodeError, json
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from toque.contract.errors import Overloaded, TooLarge, Unavailable
from toque.messages.brokers.address import Address
from toque.messages.brokers.broker import LATE_S, TIMEOUT_S, Incoming, Message, Refused, check, opened
from toque.messages.brokers.leases import Leases
from toque.messages.brokers.link import Link

__all__ = ["open_broker"]

log = logging.getLogger("toque.brokers")

CONNECT_TIMEOUT_S = 3.0
"""Less than the link's, so that the driver closes its own socket."""

BLOCK_S = 1.0
"""Longest time that a read waits at the server: what another member gave back is looked for in between."""

TRIM_EVERY = 100
"""Acknowledgements between two trims; so many entries are kept for longer than they must be."""

BYTES_MAX = 512 * 1024 * 1024
"""The largest value that the server takes unless it is told otherwise (`proto-max-bulk-len`)."""

SOCKETS_MAX = 4
"""A pipeline has a socket for itself until it is answered; more of them do not make one server faster."""

FULL_S = 0.05
"""A member that holds as much as it may looks so often whether it may have more."""

FORGOTTEN_S = 3600.0
"""A consumer that has nothing and was not heard of for so long is removed; a living one is heard of every second."""

NOBODY = "-"
"""Whom an entry belongs to that was given back, until somebody takes it over."""

FIELDS = (b"id", b"key", b"headers", b"body")


def open_broker(url: str, lease_s: float) -> RedisBroker:
    """Streams at *url*, not connected yet. Raises: ValueError where it is no such address."""
    address = Address.read(url)
    return RedisBroker(address.url.replace("valkey", "redis", 1), address.name, lease_s)


class RedisBroker:
    """Streams, as a `Broker`."""

    def __init__(self, url: str, name: str, lease_s: float) -> None:
        self.name = name
        self.lease_s = lease_s
        self._url = url
        self._bytes_max = BYTES_MAX
        self.link = self.new_link(self._examine)

    def new_link(self, examine: Callable[[Redis], Any] | None = None) -> Link[Redis]:
        """A connection of its own: one that waits for messages lets nobody else through."""
        return Link(self.name, partial(self._connect, examine), _disconnect, (RedisError,), (NoPermissionError,))

    async def _connect(self, examine: Callable[[Redis], Any] | None, lost: Callable[[], None]) -> Redis:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=SOCKETS_MAX,
            timeout=None,
            protocol=2,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=None,  # The link has the deadlines.
            retry=Retry(NoBackoff(), 0),
        )
        client = Redis.from_pool(pool)
        try:
            await client.ping()
            if examine is not None:
                await examine(client)
        except AuthenticationError as error:
            await client.aclose()
            raise Refused(f"{self.name} does not let the app in: {str(error).rstrip('.')}.") from error
        except BaseException:
            await client.aclose()
            raise
        return client

    async def _examine(self, client: Redis) -> None:
        """See that the server keeps what it is given."""
        memory: Mapping[str, Any] = await client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise Refused(
                f"{self.name} throws messages away when its memory is full (maxmemory-policy {policy}); "
                "set maxmemory-policy noeviction, or use another server for messages."
            )
        with suppress(ResponseError):  # Hosted servers tend to forbid the question, and have the usual limit.
            limits: Any = await client.config_get("proto-max-bulk-len")
            self._bytes_max = int(limits["proto-max-bulk-len"])
        persistence: Mapping[str, Any] = await client.info("persistence")
        if not persistence.get("aof_enabled"):
            log.warning("%s forgets confirmed messages when it ends; set appendonly yes", self.name)

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.start(timeout_s)

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        check(messages)
        if messages:
            await self.link.call(partial(self._publish, messages), timeout_s, "to keep messages")

    async def _publish(self, messages: Sequence[Message], client: Redis) -> None:
        # One transaction: all of them or none, in the order given.
        pipe = client.pipeline(transaction=True)
        for message in messages:
            if len(message.body) > self._bytes_max:
                size = f"{len(message.body)} bytes, and the broker takes {self._bytes_max} at most"
                raise TooLarge(f"Message {message.id} has {size}.")
            values = (message.id, message.key, json.encode(message.headers), message.body)
            pipe.xadd(message.topic, dict(zip(FIELDS, values, strict=True)))
        try:
            await pipe.execute()
        except OutOfMemoryError as error:
            text = f"{self.name} has no memory left for messages; see that each stream has groups that read it."
            raise Overloaded(text, retry_after_s=1) from error

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> RedisSubscription:
        return await opened(RedisSubscription(self, topics, group, limit, is_alone=not member), timeout_s)

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        async def ask(client: Redis) -> None:
            await client.ping()

        await self.link.call(ask, timeout_s, "to answer")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.close(timeout_s)


Place = tuple[str, bytes]
"""A stream's name and an entry's id."""

Entry = tuple[bytes, dict[bytes, bytes] | None]


class RedisSubscription:
    """A consumer of its own in the group of each topic's stream."""

    def __init__(self, broker: RedisBroker, topics: Sequence[str], group: str, limit: int, *, is_alone: bool) -> None:
        self._broker = broker
        self._topics = list(topics)
        self._group = group
        self._limit = limit
        self._is_alone = is_alone
        self._lease_ms = int(broker.lease_s * 1000)
        # Never used again: what a dead one had is taken over by the others, not by its name.
        self._consumer = uuid4().hex
        self._client: Redis | None = None
        self._behind: dict[str, bytes] = {}
        self._acknowledged: Counter[str] = Counter()
        self._reading = broker.new_link()
        self.leases: Leases[Place] = Leases(broker.lease_s, self._renew)

    async def open(self, timeout_s: float) -> None:
        await self._reading.start(timeout_s)
        await self._reading.call(self._join, timeout_s, "to open a group")

    async def _join(self, client: Redis) -> None:
        """Make the groups that are new, from the first entry that there is."""
        if self._client is client:
            return
        for topic in self._topics:
            try:
                await client.xgroup_create(topic, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):  # It exists.
                    raise
            await self._forget_the_dead(client, topic)
        if self._is_alone:
            # What the last one did not acknowledge comes first, or the order of its keys would be lost.
            self._behind = dict.fromkeys(self._topics, b"0-0")
            self.leases.held.clear()
        self._client = client

    async def _forget_the_dead(self, client: Redis, topic: str) -> None:
        for consumer in await client.xinfo_consumers(topic, self._group):
            if not consumer["pending"] and consumer["idle"] > FORGOTTEN_S * 1000:
                await client.xgroup_delconsumer(topic, self._group, consumer["name"])

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        return await self._reading.call(
            partial(self._receive, limit, timeout_s), timeout_s + LATE_S, "to hand out messages"
        )

    async def _receive(self, limit: int, timeout_s: float, client: Redis) -> list[Incoming]:
        until = monotonic() + timeout_s
        await self._join(client)
        while True:
            left_s = until - monotonic()
            room = min(limit, self._limit - len(self.leases.held))
            if room <= 0:
                await asyncio.sleep(min(max(left_s, 0), FULL_S))
            elif found := await self._take_over(client, room) or await self._read(client, room, left_s):
                return found
            if left_s <= 0:
                return []

    async def _take_over(self, client: Redis, room: int) -> list[Incoming]:
        """Entries that were given back, and those of consumers that are not heard of any more."""
        for topic in self._topics:
            start = self._behind.get(topic)
            idle_ms = self._lease_ms if start is None else 0
            following, entries, *_ = await client.xautoclaim(
                topic, self._group, self._consumer, idle_ms, start or "0-0", count=room
            )
            if start is not None:
                self._behind[topic] = following
                if following == b"0-0":
                    del self._behind[topic]
            if entries:
                attempts = await self._attempts(client, topic, entries)
                return self._incoming(topic, entries, attempts)
        return []

    async def _attempts(self, client: Redis, topic: str, entries: Sequence[Entry]) -> dict[bytes, int]:
        first, last = entries[0][0], entries[-1][0]
        pending: Any = await client.xpending_range(topic, self._group, first, last, self._limit, self._consumer)
        return {entry["message_id"]: entry["times_delivered"] for entry in pending}

    async def _read(self, client: Redis, room: int, left_s: float) -> list[Incoming]:
        if self._behind:
            return []
        block_ms = max(1, int(min(left_s, BLOCK_S) * 1000))
        streams: dict[Any, Any] = dict.fromkeys(self._topics, ">")
        answer: Any = await client.xreadgroup(self._group, self._consumer, streams, count=room, block=block_ms)
        return [incoming for topic, entries in answer or () for incoming in self._incoming(topic.decode(), entries, {})]

    def _incoming(self, topic: str, entries: Sequence[Entry], attempts: Mapping[bytes, int]) -> list[Incoming]:
        found = []
        for id, fields in entries:
            if fields is None:  # It was deleted.
                continue
            place = (topic, id)
            self.leases.held[place] = place
            known = {name: fields.get(name, b"") for name in FIELDS}
            message = Message(
                id=known[b"id"].decode(errors="replace") or f"{topic}:{id.decode()}",
                topic=topic,
                key=known[b"key"].decode(errors="replace"),
                headers=_headers(known[b"headers"]),
                body=known[b"body"],
            )
            found.append(Incoming(message, attempts.get(id, 1), partial(self._settle, place)))
        return found

    async def _settle(self, place: Place, delay_s: float | None) -> None:
        self.leases.held.pop(place, None)
        act = partial(self._ack, place) if delay_s is None else partial(self._give_back, [place], delay_s)
        await self._broker.link.call(act, TIMEOUT_S, "to settle a message")

    async def _ack(self, place: Place, client: Redis) -> None:
        topic, id = place
        await client.xack(topic, self._group, id)
        self._acknowledged[topic] += 1
        if self._acknowledged[topic] % TRIM_EVERY == 0:
            await self._trim(client, topic)

    async def _trim(self, client: Redis, topic: str) -> None:
        """Let go of what all groups have acknowledged.

        A group's place only moves on while this looks, so that what is let go of is never more than that.
        """
        lowest = []
        for group in await client.xinfo_groups(topic):
            pending = await client.xpending(topic, group["name"])
            lowest.append(pending["min"] or group["last-delivered-id"])
        await client.xtrim(topic, minid=min(lowest, key=_order), approximate=False)

    async def _give_back(self, places: Sequence[Place], delay_s: float, client: Redis) -> None:
        """Hand entries to nobody, as if they had been idle for all of a lease but *delay_s*."""
        idle_ms = max(0, self._lease_ms - int(delay_s * 1000))
        for topic, id in places:
            await client.xclaim(topic, self._group, NOBODY, 0, [id], idle=idle_ms, justid=True)

    async def _renew(self, held: list[Place]) -> None:
        async def renew(client: Redis) -> None:
            for topic, id in held:
                await client.xclaim(topic, self._group, self._consumer, 0, [id], idle=0, justid=True)

        await self._broker.link.call(renew, TIMEOUT_S, "to renew leases")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.leases.end()
        await self._reading.close(0)
        held, self.leases.held = self.leases.held, {}

        async def leave(client: Redis) -> None:
            await self._give_back(list(held.values()), 0, client)
            for topic in self._topics:
                if not await client.xpending_range(topic, self._group, "-", "+", 1, self._consumer):
                    await client.xgroup_delconsumer(topic, self._group, self._consumer)

        # What cannot be given back comes again when its lease ends.
        with suppress(Unavailable):
            await self._broker.link.call(leave, timeout_s, "to take messages back")


async def _disconnect(client: Redis) -> None:
    await client.aclose()


def _headers(text: bytes) -> dict[str, str]:
    """Those of an entry; none where a stranger keeps something else under that name: it comes in without."""
    try:
        return json.decode(text or b"{}", type=dict[str, str])
    except (DecodeError, RecursionError):
        return {}


def _order(id: bytes | str) -> tuple[int, int]:
    """Where an entry stands in its stream."""
    time, _, number = (id.decode() if isinstance(id, bytes) else id).partition("-")
    return int(time), int(number)
