"""Kafka, by aiokafka: a topic for each topic, partitions by key, and a consumer group for each group.

Its address may name several servers: `kafka://one:9092,two:9092`; with a name and a password it speaks SASL/PLAIN over
TLS.
Topics are the operator's to make, unless the servers make those that are mentioned.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, MessageSizeTooLargeError
from aiokafka.structs import ConsumerRecord

from toque.contract.errors import TooLarge, Unavailable
from toque.messages.brokers.address import Address, login
from toque.messages.brokers.broker import LATE_S, TIMEOUT_S, Incoming, Message, check, opened
from toque.messages.brokers.drivers import retell
from toque.messages.brokers.link import Link

__all__ = ["open_broker"]

ID = "toque-id"

BYTES_MAX = 1024 * 1024
"""Kafka's own limit of a batch of records (`message.max.bytes`)."""

FRAME_BYTES = 512
"""What a record takes at most besides key, headers and body (Kafka's record format v2: 61 bytes, and varints)."""

FAILURES = (KafkaError, ConsumerStoppedError)


def open_broker(url: str, lease_s: float) -> KafkaBroker:
    """Kafka at *url*, not connected yet. Raises: ValueError where it is no such address."""
    retell("aiokafka")
    return KafkaBroker(url, lease_s)


class KafkaBroker:
    """Kafka, as a `Broker`."""

    def __init__(self, url: str, lease_s: float) -> None:
        address = Address.read(url)
        self.name = address.name
        self.lease_s = lease_s
        self.options = _options(address)
        self.link: Link[AIOKafkaProducer] = Link(address.name, self._connect, _stop, FAILURES)

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.start(timeout_s)

    async def _connect(self, lost: Callable[[], None]) -> AIOKafkaProducer:
        # It finds its way back to servers by itself, and its sequence numbers keep the order of a partition while it
        # does (KIP-98); it is made anew only when a call misses its deadline.
        producer = AIOKafkaProducer(
            **self.options, acks="all", enable_idempotence=True, max_request_size=BYTES_MAX, linger_ms=0
        )
        return await _started(producer)

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        check(messages)
        for message in messages:
            if _size(message) > BYTES_MAX:
                raise _too_large(message)
        await self.link.call(partial(self._publish, messages), timeout_s, "to keep messages")

    async def _publish(self, messages: Sequence[Message], producer: AIOKafkaProducer) -> None:
        sent = []
        for message in messages:
            headers = [(name, value.encode()) for name, value in message.headers.items()]
            headers.append((ID, message.id.encode()))
            key = message.key.encode() or None
            try:
                sent.append(await producer.send(message.topic, message.body, key=key, headers=headers))
            except MessageSizeTooLargeError as error:
                raise _too_large(message) from error
        results = await asyncio.gather(*sent, return_exceptions=True)
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, MessageSizeTooLargeError):
                raise _too_large(message) from result
            if isinstance(result, BaseException):
                raise result

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> KafkaSubscription:
        return await opened(KafkaSubscription(self, topics, group, limit), timeout_s)

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        async def fetch(producer: AIOKafkaProducer) -> None:
            if not await producer.client.force_metadata_update():
                raise Unavailable(f"{self.name} does not answer.", retry_after_s=1)

        await self.link.call(fetch, timeout_s, "to answer")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.close(timeout_s)


class _Partition:
    """What of one partition was handed out, since it was assigned or last gone back in."""

    def __init__(self, start: int) -> None:
        self.next = start
        """The first offset that is not settled."""
        self.handed: set[int] = set()
        self.done: set[int] = set()

    def hand_out(self, offset: int) -> None:
        self.handed.add(offset)

    def settle(self, offset: int) -> bool:
        """Note it; whether the place moves on by it."""
        self.handed.discard(offset)
        self.done.add(offset)
        before = self.next
        # Offsets that were never handed out (transaction marks, compacted records) are no obstacle.
        low = min(self.handed, default=max(self.done) + 1)
        self.next = max(before, low)
        self.done = {done for done in self.done if done >= self.next}
        return self.next > before


class KafkaSubscription(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a consumer group, with a connection of its own."""

    def __init__(self, broker: KafkaBroker, topics: Sequence[str], group: str, limit: int) -> None:
        self._broker = broker
        self._topics = list(topics)
        self._group = group
        self._limit = limit
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._link: Link[AIOKafkaConsumer] = Link(broker.name, self._connect, _stop, FAILURES)

    async def open(self, timeout_s: float) -> None:
        await self._link.start(timeout_s)

    async def _connect(self, lost: Callable[[], None]) -> AIOKafkaConsumer:
        lease_ms = int(self._broker.lease_s * 1000)
        consumer = AIOKafkaConsumer(
            **self._broker.options,
            group_id=self._group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            session_timeout_ms=lease_ms,
            heartbeat_interval_ms=lease_ms // 3,
            max_poll_interval_ms=24 * 3600 * 1000,  # A member that works for long is alive; its heart beats.
        )
        self._partitions.clear()
        consumer.subscribe(self._topics, listener=self)
        return await _started(consumer)

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Others have them now: what was handed out comes to those."""
        for partition in revoked:
            self._partitions.pop(partition, None)

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing yet: a place is known when the first record comes."""

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        return await self._link.call(
            partial(self._fetch, limit, timeout_s), timeout_s + LATE_S, "to hand out messages", is_proof=False
        )

    async def _fetch(self, limit: int, timeout_s: float, consumer: AIOKafkaConsumer) -> list[Incoming]:
        room = min(limit, self._limit - sum(len(partition.handed) for partition in self._partitions.values()))
        if room <= 0:
            await asyncio.sleep(min(timeout_s, 0.05))
            return []
        found = await consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=room)
        return [self._incoming(consumer, where, record) for where, records in found.items() for record in records]

    def _incoming(self, consumer: AIOKafkaConsumer, where: TopicPartition, record: ConsumerRecord) -> Incoming:
        partition = self._partitions.get(where)
        if partition is None:
            partition = self._partitions[where] = _Partition(record.offset)
        partition.hand_out(record.offset)
        # A header may have no value (KIP-82), which the driver's types leave out.
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        message = Message(
            id=headers.pop(ID, f"{where.topic}:{where.partition}:{record.offset}"),
            topic=where.topic,
            key=(record.key or b"").decode(errors="replace"),
            headers=headers,
            body=record.value or b"",
        )
        return Incoming(message, 0, partial(self._settle, consumer, where, partition, record.offset))

    async def _settle(
        self,
        consumer: AIOKafkaConsumer,
        where: TopicPartition,
        partition: _Partition,
        offset: int,
        delay_s: float | None,
    ) -> None:
        async def settle(current: AIOKafkaConsumer) -> None:
            if (
                current is not consumer
                or self._partitions.get(where) is not partition
                or offset not in partition.handed
            ):
                raise Unavailable("The partition of the message was assigned anew, or gone back in; it comes again.")
            if delay_s is not None:
                self._go_back(consumer, where, offset, delay_s)
            elif partition.settle(offset):
                await consumer.commit({where: partition.next})

        await self._link.call(settle, TIMEOUT_S, "to settle a message")

    def _go_back(self, consumer: AIOKafkaConsumer, where: TopicPartition, offset: int, delay_s: float) -> None:
        """Read the partition from *offset* again. All after it come again, too: a log has one place a group."""
        old = self._partitions.pop(where)
        self._partitions[where] = _Partition(min(old.next, offset))
        consumer.seek(where, offset)
        if delay_s:
            consumer.pause(where)
            task = asyncio.get_running_loop().create_task(self._resume(consumer, where, delay_s))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _resume(self, consumer: AIOKafkaConsumer, where: TopicPartition, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        with suppress(KafkaError):  # It may be assigned to another member by now.
            consumer.resume(where)

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        for task in self._later:
            task.cancel()
        await self._link.close(0)


async def _started(client: Any) -> Any:
    """A producer or consumer, started; one that fails leaves no socket behind."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
    return client


async def _stop(client: Any) -> None:
    await client.stop()


def _options(address: Address) -> dict[str, Any]:
    """Where the servers are, and how they let the app in."""
    servers = address.name.partition("://")[2]
    options: dict[str, Any] = {"bootstrap_servers": servers, "client_id": "toque", "request_timeout_ms": 40_000}
    user, password = login(address.url)
    if user:
        options |= {
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(),
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }
    return options


def _size(message: Message) -> int:
    parts = [message.key, message.id, *message.headers, *message.headers.values()]
    return FRAME_BYTES + len(message.body) + sum(len(part.encode()) for part in parts)


def _too_large(message: Message) -> TooLarge:
    return TooLarge(f"Message {message.id} has {_size(message)} bytes, and the broker takes fewer.")
