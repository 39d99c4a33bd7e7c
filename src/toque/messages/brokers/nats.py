"""NATS JetStream, by nats-py: a stream that keeps the messages, and a durable pull consumer for each group.

Its address may say `?stream=` (default `toque`) and `?prefix=` (default `toque.`), which stands before a topic and
makes its subject. A stream that is not there is made, if the prefix is not empty; one that is there is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from urllib.parse import quote, unquote

from msgspec import json
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, MsgAlreadyAckdError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    Header,
    PubAck,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from toque.contract.errors import TooLarge, Unavailable
from toque.messages.brokers.address import Address
from toque.messages.brokers.broker import LATE_S, TIMEOUT_S, Incoming, Message, Refused, check
from toque.messages.brokers.leases import Leases
from toque.messages.brokers.link import Link, Lost
from toque.messages.brokers.waves import waves

__all__ = ["open_broker"]

log = logging.getLogger("toque.brokers")

MESSAGE_ID = "Nats-Msg-Id"
KEY = "Toque-Key"

DUPLICATE_WINDOW_S = 600.0
"""How long the server knows an id again. It costs some 100 bytes an id; the inbox knows them for longer."""

KEPT_S = 7 * 24 * 3600.0
"""How long a stream of our making keeps a message: as long as the inbox knows its id."""

HONEST_SINCE = (2, 11, 0)
"""Servers before may answer `duplicate` for a message that they never kept (nats-server, pull requests 6415, 6486)."""

PING_S = 5
"""A silent connection is given up after two of these, so that a call's usual deadline suffices."""

RESETS_SINCE = (2, 14, 0)
"""Servers since have a consumer go back to what was not acknowledged (ADR-60)."""

# CloudEvents' NATS binding 1.0.2, 3.1.3.2: all but visible ASCII, and of that '"' and '%', is percent-encoded.
_PLAIN = "!#$&'()*+,/:;<=>?@[]\\^`{|}~ "


def open_broker(url: str, lease_s: float) -> NatsBroker:
    """JetStream at *url*, not connected yet. Raises: ValueError where it is no such address."""
    return NatsBroker(Address.read(url, stream="toque", prefix="toque."), lease_s)


class _Session:
    """One connection, and what is known of its server."""

    def __init__(self, client: Client, jetstream: JetStreamContext) -> None:
        self.client = client
        self.jetstream = jetstream
        release = client.connected_server_version
        version = (release.major, release.minor, release.patch)
        self.is_honest = version >= HONEST_SINCE
        self.can_reset = version >= RESETS_SINCE


class ConsumerLost(NatsError):
    """The server has the consumer no more."""


class NatsBroker:
    """JetStream, as a `Broker`."""

    def __init__(self, address: Address, lease_s: float) -> None:
        self.name = address.name
        self.lease_s = lease_s
        self.stream = address.options["stream"]
        self.prefix = address.options["prefix"]
        self._url = address.url
        self.link: Link[_Session] = Link(address.name, self._connect, self._disconnect, (NatsError,))

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.start(timeout_s)

    async def _connect(self, lost: Lost) -> _Session:
        async def on_lost() -> None:
            lost()

        async def on_error(error: Exception) -> None:
            log.debug("%s: %s", self.name, error)
            # What was asked for gets no answer then, and its deadline would not say why.
            if "permissions violation" in str(error).lower():
                lost(str(error))

        client = Client()
        try:
            await client.connect(
                self._url,
                name="toque",
                allow_reconnect=False,  # Its own way back forgets what was under way; ours tells the callers.
                ping_interval=PING_S,
                max_outstanding_pings=2,
                disconnected_cb=on_lost,
                closed_cb=on_lost,
                error_cb=on_error,
            )
            session = _Session(client, client.jetstream(timeout=TIMEOUT_S))
            await self._ensure_stream(session.jetstream)
        except BaseException as error:
            await client.close()
            if isinstance(error, NatsError) and "authorization violation" in str(error).lower():
                raise Refused(f"{self.name} does not let the app in: {error}.") from error
            raise
        return session

    async def _ensure_stream(self, jetstream: JetStreamContext) -> None:
        try:
            info = await jetstream.stream_info(self.stream)
        except NotFoundError:
            if not self.prefix:
                text = f"{self.name} has no stream {self.stream!r}; make it, or name one: nats://host?stream=orders."
                raise Refused(text) from None
            await jetstream.add_stream(self._stream())
            return
        except APIError as error:
            raise Refused(f"{self.name} offers no JetStream: {error.description or error}.") from error
        if info.config.storage != StorageType.FILE or not info.config.duplicate_window:
            log.warning("stream %s of %s is kept in memory, or has no duplicate window", self.stream, self.name)

    def _stream(self) -> StreamConfig:
        return StreamConfig(
            name=self.stream,
            subjects=[f"{self.prefix}>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=KEPT_S,
            duplicate_window=DUPLICATE_WINDOW_S,
        )

    async def _disconnect(self, session: _Session) -> None:
        await session.client.close()

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        check(messages)
        await self.link.call(partial(self._publish, messages), timeout_s, "to keep messages")

    async def _publish(self, messages: Sequence[Message], session: _Session) -> None:
        bytes_max = session.client.max_payload
        for message in messages:
            if len(message.body) > bytes_max:
                raise _too_large(message, bytes_max)
        for wave in waves(messages):
            await asyncio.gather(*(self._publish_one(session, message) for message in wave))

    async def _publish_one(self, session: _Session, message: Message) -> None:
        subject = self.subject(message.topic)
        headers = {name: quote(value, safe=_PLAIN) for name, value in message.headers.items()}
        headers[KEY] = quote(message.key, safe=_PLAIN)
        try:
            named = {**headers, MESSAGE_ID: quote(message.id, safe=_PLAIN)}
            kept = await session.jetstream.publish(subject, message.body, stream=self.stream, headers=named)
            if kept.duplicate and not session.is_honest and not await self._has(session, kept, named[MESSAGE_ID]):
                log.warning("%s took %s for a duplicate and does not have it", self.name, message.id)
                # Under a second id of its own, because the server would say the same again.
                named[MESSAGE_ID] += "/again"
                await session.jetstream.publish(subject, message.body, stream=self.stream, headers=named)
        except MaxPayloadError:
            raise _too_large(message, session.client.max_payload) from None

    async def _has(self, session: _Session, kept: PubAck, message_id: str) -> bool:
        with suppress(NotFoundError):
            found = await session.jetstream.get_msg(self.stream, kept.seq)
            return (found.headers or {}).get(MESSAGE_ID) == message_id
        return False

    def subject(self, topic: str) -> str:
        """Where messages of *topic* go. Raises: ValueError where NATS cannot have such a subject."""
        if not all(topic.split(".")) or any(mark in topic for mark in " \t\r\n*>"):
            raise ValueError(f"a topic on NATS is words joined by dots, without spaces, '*' and '>'; got {topic!r}.")
        return self.prefix + topic

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> NatsSubscription:
        subscription = NatsSubscription(
            self, [self.subject(topic) for topic in topics], group, limit, is_alone=not member
        )
        try:
            await subscription.open(timeout_s)
        except BaseException:
            await subscription.leases.end()
            raise
        return subscription

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.call(lambda session: session.jetstream.stream_info(self.stream), timeout_s, "to answer")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.close(timeout_s)


class NatsSubscription:
    """A member of a durable pull consumer."""

    def __init__(self, broker: NatsBroker, subjects: Sequence[str], group: str, limit: int, *, is_alone: bool) -> None:
        self._broker = broker
        self._subjects = list(subjects)
        # A durable's name is one token of a subject.
        self._group = quote(group, safe="").replace(".", "%2E")
        self._limit = limit
        self._is_alone = is_alone
        self._session: _Session | None = None
        self._arrivals: Subscription | None = None
        self._ready_at = 0.0
        self.leases: Leases[Msg] = Leases(broker.lease_s, self._renew)

    async def open(self, timeout_s: float) -> None:
        await self._broker.link.call(self._bind, timeout_s, "to open a consumer")

    async def _bind(self, session: _Session) -> Subscription:
        """Where this connection's messages arrive; the consumer is made if the group is new."""
        if self._session is session and self._arrivals is not None:
            return self._arrivals
        self.leases.held.clear()
        stream = self._broker.stream
        config = ConsumerConfig(
            durable_name=self._group,
            filter_subjects=self._subjects,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._broker.lease_s,
            max_deliver=-1,  # What cannot be handled is parked by Toque, where it is seen.
            max_ack_pending=self._limit,
        )
        info = await session.jetstream.add_consumer(stream, config)
        if self._is_alone and info.num_ack_pending:
            await self._go_back(session)
        self._arrivals = await session.client.subscribe(session.client.new_inbox())
        self._session = session
        return self._arrivals

    async def _go_back(self, session: _Session) -> None:
        """Have what the last one did not acknowledge come first, or the order of its keys would be lost."""
        if session.can_reset:
            await session.jetstream.reset_consumer(self._broker.stream, self._group)
            return
        # Once their leases have ended, those that come again go before those that are new.
        log.warning("%s is too old to take messages back; waiting %d s", self._broker.name, self._broker.lease_s)
        self._ready_at = monotonic() + self._broker.lease_s

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        found = await self._broker.link.call(
            partial(self._fetch, limit, timeout_s), timeout_s + LATE_S, "to hand out messages"
        )
        self.leases.held.update((msg.reply, msg) for msg in found)
        return [self._incoming(msg) for msg in found]

    async def _fetch(self, limit: int, timeout_s: float, session: _Session) -> list[Msg]:
        until = monotonic() + timeout_s
        arrivals = await self._bind(session)
        if (early_s := self._ready_at - monotonic()) > 0:
            await asyncio.sleep(min(early_s, timeout_s))
        found = await self._ask(session, arrivals, limit, 0)
        if not found and (left_s := until - monotonic()) > 0:
            # One request that lingers, for one message: a lingering request for more comes back when it has them all.
            found = await self._ask(session, arrivals, 1, left_s)
            if found and limit > 1:
                found += await self._ask(session, arrivals, limit - 1, 0)
        return found

    async def _ask(self, session: _Session, arrivals: Subscription, limit: int, linger_s: float) -> list[Msg]:
        """Up to *limit* messages; fewer once the server has none, or had none for *linger_s*."""
        wanted = {"expires": int(linger_s * 1e9)} if linger_s else {"no_wait": True}
        request = json.encode({"batch": limit, **wanted})
        await session.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._broker.stream}.{self._group}", request, reply=arrivals.subject
        )
        found: list[Msg] = []
        while len(found) < limit:
            msg = await arrivals.next_msg(timeout=linger_s + LATE_S)
            if not msg.reply:
                # A status: there are no messages (404), or none came in time (408), or the consumer is gone (409).
                status = (msg.headers or {}).get(Header.STATUS, "")
                if status not in ("404", "408"):
                    raise ConsumerLost(f"the consumer ended: {(msg.headers or {}).get(Header.DESCRIPTION, status)}")
                break
            found.append(msg)
        return found

    def _incoming(self, msg: Msg) -> Incoming:
        headers = {name: unquote(value) for name, value in (msg.headers or {}).items()}
        sequence = msg.metadata.sequence.stream
        message = Message(
            id=headers.pop(MESSAGE_ID, f"{self._broker.stream}:{sequence}").removesuffix("/again"),
            topic=msg.subject.removeprefix(self._broker.prefix),
            key=headers.pop(KEY, ""),
            headers={name: value for name, value in headers.items() if not name.startswith("Nats-")},
            body=msg.data,
        )
        return Incoming(message, msg.metadata.num_delivered or 0, partial(self._settle, msg))

    async def _settle(self, msg: Msg, delay_s: float | None) -> None:
        if self.leases.held.pop(msg.reply, None) is None:
            raise Unavailable("The connection by which the message came is lost; it comes again.")

        async def settle() -> None:
            with suppress(MsgAlreadyAckdError):
                await (msg.ack_sync(timeout=TIMEOUT_S) if delay_s is None else msg.nak(delay=delay_s or None))

        await self._on_its_connection(settle, "to settle a message")

    async def _renew(self, held: list[Msg]) -> None:
        async def renew() -> None:
            for msg in held:
                await msg.in_progress()

        await self._on_its_connection(renew, "to renew leases")

    async def _on_its_connection(self, act: Callable[[], Awaitable[None]], doing: str) -> None:
        """Run *act* on what came by the present connection. Raises: Unavailable where that is another one by now."""

        async def run(session: _Session) -> None:
            if session is not self._session:
                self.leases.held.clear()
                raise Unavailable("The connection by which the message came is lost; it comes again.")
            await act()

        await self._broker.link.call(run, TIMEOUT_S, doing)

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.leases.end()
        held, self.leases.held = self.leases.held, {}

        async def give_back(session: _Session) -> None:
            if session is not self._session or self._arrivals is None:
                return
            for msg in held.values():
                await msg.nak()
            await self._arrivals.unsubscribe()
            await session.client.flush()

        # What cannot be given back comes again when its lease ends.
        with suppress(Unavailable):
            await self._broker.link.call(give_back, timeout_s, "to take messages back")


def _too_large(message: Message, bytes_max: int) -> TooLarge:
    return TooLarge(f"Message {message.id} has {len(message.body)} bytes, and the broker takes {bytes_max} at most.")
