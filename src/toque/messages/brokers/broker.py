"""The port: what the app needs of a broker, and `open_broker`, which picks one by its address."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from toque.contract.errors import Unavailable

__all__ = [
    "LATE_S",
    "LEASE_S",
    "TIMEOUT_S",
    "Broker",
    "Incoming",
    "Message",
    "Refused",
    "Subscription",
    "check",
    "open_broker",
]

TIMEOUT_S = 10.0
"""The deadline of a call that names none: that of an app's own calls (`calls.deadline_s`)."""

LEASE_S = 30.0
"""How long a message is kept from others after its consumer was last heard of, where a broker counts that at all. It is
what JetStream takes by default (`ack_wait`), and what a dead worker's jobs wait for."""


class Message(Struct, frozen=True):
    """What a broker carries."""

    id: str
    """Equal for everything that is sent again. Empty where a foreign message has none."""

    topic: str
    key: str = ""
    """Messages of one topic and key keep their order; those without a key have none."""

    headers: Mapping[str, str] = {}
    """`content-type` stands where the protocol has a place for it, the others among its headers."""

    body: bytes = b""


LATE_S = 5.0
"""How much later than asked for the end of a wait may be told; a server that takes longer is gone: half of a call's
usual deadline."""

Settle = Callable[[float | None], Awaitable[None]]


class Incoming:
    """One delivery of a message, until it is settled.

    Args:
        attempt: how often this group was given the message, this time included; 0 where the broker does not count.
        settle: tells the broker: None that it is done with, otherwise after how many seconds it is wanted again.
    """

    __slots__ = ("_settle", "attempt", "message")

    def __init__(self, message: Message, attempt: int, settle: Settle) -> None:
        self.message = message
        self.attempt = attempt
        self._settle = settle

    async def ack(self) -> None:
        """Tell the broker that the group is done with this message.

        Raises: Unavailable when that cannot be said any more; the message comes again then.
        """
        await self._settle(None)

    async def nack(self, delay_s: float = 0.0) -> None:
        """Have the message delivered again, to any member of the group, after *delay_s* at the earliest.

        Raises: Unavailable when that cannot be said any more; the message comes again anyway.
        """
        await self._settle(delay_s)


class Subscription(Protocol):
    """One member of a group. The broker keeps what the group has not acknowledged."""

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        """Wait for messages, and take up to *limit*; an empty list when none came in time, not an error.

        It comes back, or raises, five seconds after *timeout_s* at the latest.

        Raises: Unavailable when the broker cannot be reached; call it again, the connection is being rebuilt.
        """
        ...

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        """Give back what was not acknowledged, and leave the group; its place stays with the broker."""


class Opening(Subscription, Protocol):
    """A subscription that has still to be begun at its broker."""

    async def open(self, timeout_s: float) -> object:
        """Begin it. Raises: Unavailable, Refused."""


S = TypeVar("S", bound=Opening)


async def opened(subscription: S, timeout_s: float) -> S:
    """*subscription*, begun at its broker; closed again where that fails, so that nobody waits for it there."""
    try:
        await subscription.open(timeout_s)
    except BaseException:
        await subscription.close(0)
        raise
    return subscription


class Broker(Protocol):
    """One broker. Every implementation passes `toque.testing.broker_suite`.

    A lost connection is rebuilt in the background, with pauses that grow; calls wait for it until their deadline.
    """

    @property
    def name(self) -> str:
        """Its address without the password, for people."""
        ...

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        """Open the connection, and keep it open.

        Raises: Refused where trying again cannot help; Unavailable when nobody answers.
        """

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        """Have the broker keep all of *messages*: all of them are confirmed when this returns.

        Messages of one topic and key are kept in the order given, also where a call fails and is made again. Calls
        that share a key must follow one another.

        Raises:
            Unavailable: some may not have been kept: send all of them again, those that were are known by their id.
            TooLarge: one is larger than the broker takes; none after it is kept.
        """

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> Subscription:
        """Join *group*, which gets each message of *topics* once more until one of its members acknowledges it.

        Args:
            member: empty where the group has one member at a time: that one gets each key's messages in their order,
                also after the one before it died. Otherwise this member's name among several, the same after a
                restart: MQTT keeps what it sent to a member for that member. What is given back, or comes again, may
                then be overtaken by later messages of its key.
            limit: how many messages the broker may hand out to this member before it acknowledges some.
        """
        ...

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        """Come back when the broker answers. Raises Unavailable when it does not."""

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for what is being published, and disconnect. What is not confirmed by then raises Unavailable."""


class Refused(Unavailable, code="unavailable"):
    """The broker, or what it is set to, is not what the app needs; trying again does not help."""


_BY_SCHEME = {
    "nats": "nats",
    "tls": "nats",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "kafka": "kafka",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "mqtt": "mqtt",
    "mqtts": "mqtt",
}

EXAMPLES = "nats://host, amqp://user:password@host/, kafka://host:9092, redis://host/0, mqtt://host"


def open_broker(url: str, *, lease_s: float = LEASE_S) -> Broker:
    """The broker at *url*, not connected yet.

    Args:
        lease_s: how long a message stays with a member of a group that is not heard of any more. A member is heard of
            as long as its process and its connection live, however long it works on a message.
    Raises: ValueError where the address is none; ModuleNotFoundError where the broker's extra is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _BY_SCHEME:
        raise ValueError(f"expected the address of a broker, such as {EXAMPLES}; got scheme {scheme!r}.")
    extra = _BY_SCHEME[scheme]
    try:
        module = import_module(f"toque.messages.brokers.{extra}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("toque"):
            raise
        text = (
            f"a broker at {scheme}:// needs the package {error.name!r}; install it with: pip install 'toque[{extra}]'"
        )
        raise ModuleNotFoundError(text, name=error.name) from error
    broker: Broker = module.open_broker(url, lease_s)
    return broker


# What HTTP, NATS, AMQP, Kafka and MQTT all take as a header's name (RFC 9110, 5.6.2, less what has a meaning to one).
_HEADER = re.compile(r"[A-Za-z0-9_-]+")


def check(messages: Iterable[Message]) -> None:
    """Raises: ValueError where no broker could carry one of *messages*."""
    for message in messages:
        if not message.id or not message.topic:
            raise ValueError(f"a message has an id and a topic, got id {message.id!r} and topic {message.topic!r}.")
        for name in message.headers:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"a header's name has letters, digits, '-' and '_', got {name!r} in {message.id}.")
