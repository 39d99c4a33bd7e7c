"""RabbitMQ, by aio-pika: one topic exchange, and a quorum queue for each group.

Its address may say `?exchange=` (default `toque`); the topic is the routing key. A message that no queue takes is
refused, not dropped. A queue keeps what is published after its group first subscribed; what was delivered twenty times
in vain goes to the queue `<group>.dead`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelPreconditionFailed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from toque.contract.errors import Overloaded, TooLarge, Unavailable
from toque.messages.brokers.address import Address
from toque.messages.brokers.broker import LATE_S, TIMEOUT_S, Incoming, Message, Refused, check
from toque.messages.brokers.drivers import retell
from toque.messages.brokers.link import Link
from toque.messages.brokers.waves import waves

__all__ = ["open_broker"]

KEY, CONTENT_TYPE = "toque-key", "content-type"

OF_THE_BROKER = (
    "x-delivery-count",
    "x-acquired-count",
    "x-death",
    *(f"x-{which}-death-{what}" for which in ("first", "last") for what in ("exchange", "queue", "reason")),
)
"""Headers that the broker adds."""

DELIVERIES_MAX = 20
"""RabbitMQ's own limit since 4.0. It catches messages that kill their consumers; Toque parks the rest long before."""

HEARTBEAT_S = 10
"""A silent connection is given up after two of these (AMQP 0-9-1, 4.2.7)."""

DEAD = "toque.dead"


def open_broker(url: str, lease_s: float) -> RabbitBroker:
    """RabbitMQ at *url*, not connected yet. Raises: ValueError where it is no such address."""
    retell("aiormq")
    retell("aio_pika")
    # Here a message is kept for its consumer as long as the connection lives, so no lease is counted.
    return RabbitBroker(Address.read(url, exchange="toque"))


class _Session:
    """One connection, and its channel for publishing."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self.connection = connection
        self.channel = channel
        self.exchange = exchange


class RabbitBroker:
    """RabbitMQ, as a `Broker`."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self.exchange = address.options["exchange"]
        self._url = address.url
        self.link: Link[_Session] = Link(address.name, self._connect, _disconnect, CONNECTION_EXCEPTIONS)

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.start(timeout_s)

    async def _connect(self, lost: Callable[[], None]) -> _Session:
        try:
            # Plain: the "robust" connection hides what was lost, and has hung (aio-pika#636, #556).
            connection = await aio_pika.connect(f"{self._url}?heartbeat={HEARTBEAT_S}")
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise Refused(f"{self.name} does not let the app in: {str(error).rstrip('.')}.") from error
        except InvalidFrameError as error:
            # What the server says of it does not come through the driver, which expected its consent.
            host = unquote(urlsplit(self._url).path[1:]) or "/"
            raise Refused(
                f"{self.name} does not open the virtual host {host!r}; see that it exists and the user may use it."
            ) from error
        connection.close_callbacks.add(lambda *_: lost())
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            channel.close_callbacks.add(lambda *_: lost())
            exchange = await channel.declare_exchange(self.exchange, ExchangeType.TOPIC, durable=True)
        except ChannelPreconditionFailed as error:
            await connection.close()
            raise Refused(f"{self.name} has another exchange {self.exchange!r}: {error}.") from error
        except BaseException:
            await connection.close()
            raise
        return _Session(connection, channel, exchange)

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        check(messages)
        for message in messages:
            for text in (message.id, message.topic):
                if len(text.encode()) > 255:
                    raise ValueError(f"on RabbitMQ an id and a topic have 255 bytes at most, got {text!r}.")
        await self.link.call(partial(self._publish, messages), timeout_s, "to keep messages")

    async def _publish(self, messages: Sequence[Message], session: _Session) -> None:
        for wave in waves(messages):
            try:
                await asyncio.gather(*(self._publish_one(session, message) for message in wave))
            except ChannelPreconditionFailed as error:
                # The server closes the channel, and tells no more than the sizes.
                self.link.lose(session, str(error))
                sizes = re.search(r"message size (\d+) is larger than configured max size (\d+)", str(error))
                if sizes is None:
                    raise
                large = next((m for m in wave if len(m.body) > int(sizes[2])), wave[0])
                text = f"Message {large.id} has {len(large.body)} bytes, and the broker takes {sizes[2]} at most."
                raise TooLarge(text) from error

    async def _publish_one(self, session: _Session, message: Message) -> None:
        headers: dict[str, Any] = {KEY: message.key, **message.headers}
        carried = aio_pika.Message(
            message.body,
            content_type=headers.pop(CONTENT_TYPE, None),
            headers=headers,
            message_id=message.id,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        try:
            await session.exchange.publish(carried, message.topic, mandatory=True)
        except PublishError as error:
            raise Unavailable(
                f"No queue of {self.name} takes messages of {message.topic!r}, so {message.id} would be lost; "
                f"bind one to the exchange {self.exchange!r}, or subscribe once.",
                retry_after_s=1,
            ) from error
        except DeliveryError as error:
            text = f"A queue of {self.name} for {message.topic!r} is full, or has no majority of its nodes."
            raise Overloaded(text, retry_after_s=1) from error

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> RabbitSubscription:
        subscription = RabbitSubscription(self, topics, group, limit)
        await subscription.open(timeout_s)
        return subscription

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        async def declare(session: _Session) -> None:
            await session.channel.declare_exchange(self.exchange, ExchangeType.TOPIC, durable=True)

        await self.link.call(declare, timeout_s, "to answer")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.close(timeout_s)


class RabbitSubscription:
    """A consumer of the group's queue, on a channel of its own."""

    def __init__(self, broker: RabbitBroker, topics: Sequence[str], group: str, limit: int) -> None:
        self._broker = broker
        self._topics = topics
        self._group = group
        self._limit = limit
        self._session: _Session | None = None
        self._channel: AbstractChannel | None = None
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._later: set[asyncio.Task[None]] = set()

    async def open(self, timeout_s: float) -> None:
        await self._broker.link.call(self._consume, timeout_s, "to open a queue")

    async def _consume(self, session: _Session) -> asyncio.Queue[AbstractIncomingMessage]:
        """Where this connection's messages arrive; the queue is made if the group is new."""
        if self._session is session:
            return self._arrived
        arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        try:
            channel = await self._open_channel(session, arrived)
        except ChannelPreconditionFailed as error:
            raise Refused(
                f"{self._broker.name} has another queue {self._group!r}: {error}; delete or rename it."
            ) from error
        except BaseException:
            # The server may have a consumer of which nobody here knows, and hand messages to it until the connection
            # ends.
            self._broker.link.lose(session, "a consumer was not confirmed")
            raise
        self._arrived, self._channel, self._session = arrived, channel, session
        return arrived

    async def _open_channel(
        self, session: _Session, arrived: asyncio.Queue[AbstractIncomingMessage]
    ) -> AbstractChannel:
        async def arrive(message: AbstractIncomingMessage) -> None:
            arrived.put_nowait(message)

        channel = await session.connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._limit)
        await self._declare_dead(channel)
        queue = await channel.declare_queue(self._group, durable=True, arguments=self._arguments())
        for topic in self._topics:
            await queue.bind(self._broker.exchange, topic)
        await queue.consume(arrive)
        channel.close_callbacks.add(lambda *_: self._broker.link.lose(session, "a channel was closed"))
        return channel

    def _arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            # No x-single-active-consumer, which would keep the order of keys also while a dead consumer is not known
            # to be dead: RabbitMQ 3.10 found no leader for such a queue after a crash (decision 0024).
            "x-delivery-limit": DELIVERIES_MAX,
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": self._group,
            # The two belong together (RabbitMQ's manual, "Quorum Queues", dead lettering).
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    async def _declare_dead(self, channel: AbstractChannel) -> None:
        exchange = await channel.declare_exchange(DEAD, ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue(f"{self._group}.dead", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(exchange, self._group)

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        return await self._broker.link.call(
            partial(self._take, limit, timeout_s), timeout_s + LATE_S, "to hand out messages", is_proof=False
        )

    async def _take(self, limit: int, timeout_s: float, session: _Session) -> list[Incoming]:
        arrived = await self._consume(session)
        found = []
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                found.append(await arrived.get())
        while found and len(found) < limit and not arrived.empty():
            found.append(arrived.get_nowait())
        return [self._incoming(session, message) for message in found]

    def _incoming(self, session: _Session, carried: AbstractIncomingMessage) -> Incoming:
        headers = {name: str(value) for name, value in carried.headers.items() if name not in OF_THE_BROKER}
        if carried.content_type is not None:
            headers[CONTENT_TYPE] = carried.content_type
        message = Message(
            # A foreign message may have none; nothing else tells two deliveries of it from two messages.
            id=carried.message_id or "",
            topic=carried.routing_key or "",
            key=headers.pop(KEY, ""),
            headers=headers,
            body=carried.body,
        )
        count = carried.headers.get("x-delivery-count", 0)
        attempt = 1 + (count if isinstance(count, int) else 0)
        return Incoming(message, attempt, partial(self._settle, session, carried))

    async def _settle(self, session: _Session, carried: AbstractIncomingMessage, delay_s: float | None) -> None:
        async def settle(current: _Session) -> None:
            if current is not session:
                raise Unavailable("The connection by which the message came is lost; it comes again.")
            await (carried.ack() if delay_s is None else carried.nack(requeue=True))

        if not delay_s:
            await self._broker.link.call(settle, TIMEOUT_S, "to settle a message")
            return

        async def give_back_later() -> None:
            await asyncio.sleep(delay_s)
            with suppress(Unavailable):
                await self._broker.link.call(settle, TIMEOUT_S, "to take a message back")

        task = asyncio.get_running_loop().create_task(give_back_later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        for task in self._later:
            task.cancel()

        async def leave(session: _Session) -> None:
            if session is self._session and self._channel is not None:
                # Closing a channel gives back what was delivered on it and not acknowledged.
                self._channel.close_callbacks.clear()
                await self._channel.close()

        with suppress(Unavailable):
            await self._broker.link.call(leave, timeout_s, "to take messages back")


async def _disconnect(session: _Session) -> None:
    session.channel.close_callbacks.clear()
    await session.connection.close()
