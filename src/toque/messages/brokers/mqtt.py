"""MQTT 5, by paho-mqtt: QoS 1, one lasting session for each member of a group.

MQTT keeps a message only for sessions that have subscribed by then. A group with one member has the plain
subscription; several members share one (`$share/group/topic`, MQTT 5, 4.8.2). What the server sent to a member it
keeps for that member.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from toque.contract.errors import TooLarge, Unavailable
from toque.messages.brokers.address import Address, login
from toque.messages.brokers.broker import LATE_S, TIMEOUT_S, Incoming, Message, Refused, check, opened
from toque.messages.brokers.link import Link, Lost
from toque.messages.brokers.waves import waves

__all__ = ["open_broker"]

ID, KEY, CONTENT_TYPE = "toque-id", "toque-key", "content-type"

KEEPALIVE_S = 10
"""A silent connection is given up after one and a half of these (MQTT 5, 3.1.2.10)."""

SESSION_S = 7 * 24 * 3600
"""How long the server keeps the session of a member that is away: as long as the inbox knows a message's id."""

TICK_S = 1.0
"""How often the driver looks whether it must send a ping."""

FRAME_BYTES = 64
"""What a PUBLISH packet has besides topic, properties and payload, at most (MQTT 5, 3.3)."""

REFUSALS = frozenset({128, 129, 130, 132, 133, 134, 135, 138, 140, 144, 149, 153, 154, 155})
"""Reasons that trying again does not mend (MQTT 5, 3.2.2.2): who we are, what we speak, what we ask for."""

TAKEN_OVER = 142
"""Another connection has come with the same client id (MQTT 5, 3.14.2.1)."""


def open_broker(url: str, lease_s: float) -> MqttBroker:
    """MQTT at *url*, not connected yet. Raises: ValueError where it is no such address."""
    # Here a message is kept for its member as long as that one's session, so no lease is counted.
    return MqttBroker(Address.read(url))


class _Session:
    """One connection, driven by the event loop."""

    def __init__(self, address: Address, identifier: str, lost: Lost, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._identifier = identifier
        self._ticks: asyncio.Task[None] | None = None
        self._outcomes: dict[tuple[str, int], asyncio.Future[ReasonCode]] = {}
        self.connected: asyncio.Future[None] = self._loop.create_future()
        self.arrived: asyncio.Queue[MQTTMessage] = asyncio.Queue()
        self.packet_bytes_max = 268_435_455  # MQTT 5, 1.5.5: the largest length that can be written.
        parts = urlsplit(address.url)
        self.client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=identifier,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(limit)
        user, password = login(address.url)
        if user:
            client.username_pw_set(user, password)
        is_secret = parts.scheme == "mqtts"
        if is_secret:
            client.tls_set_context(ssl.create_default_context())
        self._host, self._port = parts.hostname or "", parts.port or (8883 if is_secret else 1883)
        client.on_socket_open = self._on_open
        client.on_socket_close = self._on_close
        client.on_socket_register_write = self._on_write
        client.on_socket_unregister_write = self._on_written
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: self.arrived.put_nowait(message)
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe

    async def open(self, limit: int, *, is_lasting: bool) -> None:
        """Connect. Raises: OSError, Refused."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = limit
        if is_lasting:
            properties.SessionExpiryInterval = SESSION_S
        connect = partial(
            self.client.connect,
            self._host,
            self._port,
            keepalive=KEEPALIVE_S,
            clean_start=not is_lasting,
            properties=properties,
        )
        # In a thread, because the driver looks the name up and shakes hands in one blocking call.
        await asyncio.to_thread(connect)
        self._ticks = self._loop.create_task(self._tick())
        await self.connected

    async def close(self) -> None:
        if self._ticks is not None:
            self._ticks.cancel()
        self.client.disconnect()
        # The driver closes its socket once the packet is written; a server that does not read may keep it from that.
        sock = self.client.socket()
        if sock is not None:
            self._unwatch(sock)
            sock.close()

    async def publish(self, message: Message) -> ReasonCode:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        headers = dict(message.headers)
        if content_type := headers.pop(CONTENT_TYPE, ""):
            properties.ContentType = content_type
        properties.UserProperty = [(ID, message.id), (KEY, message.key), *headers.items()]
        info = self.client.publish(message.topic, message.body, qos=1, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionError(f"the driver does not send: {info.rc.name}")
        return await self._outcome("publish", info.mid)

    async def subscribe(self, topics: Sequence[str]) -> ReasonCode:
        code, number = self.client.subscribe([(topic, 1) for topic in topics])
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
            raise ConnectionError(f"the driver does not send: {code.name}")
        return await self._outcome("subscribe", number)

    async def _outcome(self, kind: str, number: int) -> ReasonCode:
        outcome: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._outcomes[kind, number] = outcome
        try:
            return await outcome
        finally:
            self._outcomes.pop((kind, number), None)

    def _tell(self, kind: str, number: int, reason: ReasonCode) -> None:
        outcome = self._outcomes.get((kind, number))
        if outcome is not None and not outcome.done():
            outcome.set_result(reason)

    def _on_publish(self, client: Client, data: Any, number: int, reason: ReasonCode, properties: Any) -> None:
        self._tell("publish", number, reason)

    def _on_subscribe(self, client: Client, data: Any, number: int, reasons: list[ReasonCode], properties: Any) -> None:
        self._tell("subscribe", number, max(reasons, key=lambda reason: reason.value))

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self.connected.done():
            return
        if reason.is_failure:
            kind = Refused if reason.value in REFUSALS else ConnectionError
            self.connected.set_exception(kind(f"the server does not let the app in: {reason.getName()}"))
            return
        self.packet_bytes_max = getattr(properties, "MaximumPacketSize", self.packet_bytes_max)
        self.connected.set_result(None)

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if not self.connected.done():
            self.connected.set_exception(ConnectionError(f"the server hung up: {reason.getName()}"))
        self._lost(self._why(reason, is_told=flags.is_disconnect_packet_from_server))

    def _why(self, reason: ReasonCode, *, is_told: bool) -> str:
        """What people hear. Mosquitto 2.0 throws out whose client id another connection brings, and does not say so."""
        if is_told and reason.value == TAKEN_OVER:
            return f"another connection has come with its client id, {self._identifier!r}; each member needs its own"
        if is_told or not self._identifier:
            return f"the server hung up: {reason.getName()}"
        return f"the server hung up without a word, as where another connection has its client id, {self._identifier!r}"

    # The driver's socket, watched by the event loop. It is opened in a thread, so the loop is told across threads.

    def _on_open(self, client: Client, data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock, self._read)

    def _on_close(self, client: Client, data: Any, sock: Any) -> None:
        self._unwatch(sock)

    def _unwatch(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _on_write(self, client: Client, data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._add_writer, sock)

    def _add_writer(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock, self.client.loop_write)

    def _on_written(self, client: Client, data: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock)

    def _read(self) -> None:
        self.client.loop_read()
        sock: Any = self.client.socket()
        # What TLS has decrypted already announces itself no more (paho#131).
        while sock is not None and getattr(sock, "pending", lambda: 0)():
            self.client.loop_read()
            sock = self.client.socket()

    async def _tick(self) -> None:
        while self.client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:  # noqa: ASYNC110 - the driver tells nobody
            await asyncio.sleep(TICK_S)
        self._lost()


FAILURES = (ValueError,)  # What paho raises for a packet that it cannot read.


class MqttBroker:
    """MQTT, as a `Broker`."""

    INFLIGHT = 100

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self.address = address
        self.link: Link[_Session] = Link(address.name, self._connect, _close, FAILURES)

    async def connect(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.start(timeout_s)

    async def _connect(self, lost: Lost) -> _Session:
        return await self.session("", lost, self.INFLIGHT, is_lasting=False)

    async def session(self, identifier: str, lost: Lost, limit: int, *, is_lasting: bool) -> _Session:
        """A connection, open. Raises: OSError, Refused."""
        session = _Session(self.address, identifier, lost, limit)
        try:
            await session.open(limit, is_lasting=is_lasting)
        except BaseException:
            await session.close()
            raise
        return session

    async def publish(self, messages: Sequence[Message], timeout_s: float = TIMEOUT_S) -> None:
        check(messages)
        await self.link.call(partial(self._publish, messages), timeout_s, "to keep messages")

    async def _publish(self, messages: Sequence[Message], session: _Session) -> None:
        for message in messages:
            if _size(message) > session.packet_bytes_max:
                text = (
                    f"Message {message.id} has {_size(message)} bytes, and the broker takes {session.packet_bytes_max}"
                )
                raise TooLarge(f"{text} at most.")
        for wave in waves(messages):
            reasons = await asyncio.gather(*(session.publish(message) for message in wave))
            for message, reason in zip(wave, reasons, strict=True):
                # 16 says that nobody subscribes to it: on MQTT that is no failure.
                if reason.is_failure:
                    text = f"{self.name} does not take {message.id} on {message.topic!r}: {reason.getName()}"
                    raise Unavailable(text, retry_after_s=1)

    async def subscribe(
        self, topics: Sequence[str], group: str, *, member: str = "", limit: int = 100, timeout_s: float = TIMEOUT_S
    ) -> MqttSubscription:
        return await opened(MqttSubscription(self, topics, group, member, limit), timeout_s)

    async def ping(self, timeout_s: float = TIMEOUT_S) -> None:
        async def ask(session: _Session) -> None:
            # MQTT's own ping has no number; a subscription is answered by its number.
            await session.subscribe(["toque/ping"])

        await self.link.call(ask, timeout_s, "to answer")

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        await self.link.close(timeout_s)


class MqttSubscription:
    """A member of a group: a session that lasts."""

    def __init__(self, broker: MqttBroker, topics: Sequence[str], group: str, member: str, limit: int) -> None:
        self._broker = broker
        share = f"$share/{group}/" if member else ""
        self._topics = [share + topic for topic in topics]
        self._identifier = f"{group}.{member}" if member else group
        self._limit = limit
        self._unsettled: dict[int, bool] = {}
        self._later: set[asyncio.TimerHandle] = set()
        self._link: Link[_Session] = Link(broker.name, self._connect, _close, FAILURES)

    async def open(self, timeout_s: float) -> None:
        await self._link.start(timeout_s)

    async def _connect(self, lost: Lost) -> _Session:
        session = await self._broker.session(self._identifier, lost, self._limit, is_lasting=True)
        self._unsettled.clear()
        reason = await session.subscribe(self._topics)
        if reason.is_failure:
            await session.close()
            raise Refused(f"{self._broker.name} does not let {self._identifier} subscribe: {reason.getName()}")
        return session

    async def receive(self, limit: int = 100, timeout_s: float = TIMEOUT_S) -> list[Incoming]:
        return await self._link.call(
            partial(self._take, limit, timeout_s), timeout_s + LATE_S, "to hand out messages", is_proof=False
        )

    async def _take(self, limit: int, timeout_s: float, session: _Session) -> list[Incoming]:
        found = []
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                found.append(await session.arrived.get())
        while found and len(found) < limit and not session.arrived.empty():
            found.append(session.arrived.get_nowait())
        return [self._incoming(session, packet) for packet in found]

    def _incoming(self, session: _Session, packet: MQTTMessage) -> Incoming:
        self._unsettled.setdefault(packet.mid, False)
        properties: Any = packet.properties
        headers: dict[str, str] = dict(getattr(properties, "UserProperty", ()))
        if content_type := getattr(properties, "ContentType", ""):
            headers[CONTENT_TYPE] = content_type
        message = Message(
            # A foreign message may have none; nothing else tells two deliveries of it from two messages.
            id=headers.pop(ID, ""),
            topic=packet.topic,
            key=headers.pop(KEY, ""),
            headers=headers,
            body=bytes(packet.payload),
        )
        return Incoming(message, 0, partial(self._settle, session, packet))

    async def _settle(self, session: _Session, packet: MQTTMessage, delay_s: float | None) -> None:
        async def settle(current: _Session) -> None:
            if current is not session or packet.mid not in self._unsettled:
                raise Unavailable("The connection by which the message came is lost; it comes again.")
            if delay_s is None:
                self._acknowledge(session, packet)
            else:
                self._keep(session, packet, delay_s)

        await self._link.call(settle, TIMEOUT_S, "to settle a message", is_proof=False)

    def _acknowledge(self, session: _Session, packet: MQTTMessage) -> None:
        """Acknowledge it once all that came before it are: MQTT wants that order (MQTT 5, 4.6)."""
        self._unsettled[packet.mid] = True
        for number, is_done in list(self._unsettled.items()):
            if not is_done:
                return
            del self._unsettled[number]
            session.client.ack(number, 1)

    def _keep(self, session: _Session, packet: MQTTMessage, delay_s: float) -> None:
        """Hand it out again ourselves: MQTT cannot give a message back, but by losing the connection."""
        loop = asyncio.get_running_loop()
        handle = loop.call_later(delay_s, lambda: session.arrived.put_nowait(packet))
        self._later.add(handle)

    async def close(self, timeout_s: float = TIMEOUT_S) -> None:
        for handle in self._later:
            handle.cancel()
        await self._link.close(0)


async def _close(session: _Session) -> None:
    await session.close()


def _size(message: Message) -> int:
    texts = [message.topic, message.id, message.key, ID, KEY, *message.headers, *message.headers.values()]
    # Each user property has a mark and two lengths (MQTT 5, 2.2.2.2).
    return FRAME_BYTES + len(message.body) + sum(len(text.encode()) + 3 for text in texts)
