"""What every broker must do, as tests: run them on one of your own.

    @pytest.fixture(scope="module")
    def server():                      # a started `toque.testing.servers.Server`, or what has its methods
        ...

    test_broker = broker_suite("server", open_my_broker)

The server is killed, frozen and started again while messages flow; everything that was confirmed must arrive, in the
order of its key, and no call may last much longer than its deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Protocol
from uuid import uuid4

from toque.contract.errors import Error, TooLarge, Unavailable
from toque.messages.brokers.broker import Broker, Incoming, Message, Subscription, open_broker

__all__ = ["BrokerServer", "broker_suite"]

LEASE_S = 3.0
"""A tenth of the usual one: the suite waits for some to end."""

PATIENCE_S = 60.0
"""After so long something hangs. RabbitMQ needs fifteen seconds to start again on a busy machine."""

BATCH, BATCHES_MIN = 20, 20
"""How much flows at least while the server is ended."""

AHEAD_MAX = 200
"""How far publishing may be ahead of receiving, so that the case ends soon after the server is back."""


class BrokerServer(Protocol):
    """The server behind the broker, as the suite handles it."""

    MESSAGE_BYTES_MAX: ClassVar[int]
    SURVIVES_KILL: ClassVar[bool]
    SHARES_GROUPS: ClassVar[bool]
    SKIPS: ClassVar[Mapping[str, str]]

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def terminate(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


Open = Callable[..., Broker]


def broker_suite(server: str, open: Open = open_broker) -> Callable[..., None]:
    """A test for pytest, with one case for each promise of the port.

    Args:
        server: the name of a fixture that gives a started server.
        open: makes a broker of the server's `url` and `lease_s=`; a process that is killed calls it too, so it must be
            a function of a module.
    """
    import pytest

    @pytest.mark.parametrize("case", list(CASES))
    def test_broker(case: str, request: pytest.FixtureRequest) -> None:
        there: BrokerServer = request.getfixturevalue(server)
        if case in there.SKIPS:
            pytest.skip(there.SKIPS[case])
        if case in SHARED and not there.SHARES_GROUPS:
            pytest.skip(f"{type(there).__name__} lets one member into a group")
        asyncio.run(asyncio.wait_for(CASES[case](Bench(there, open)), 3 * PATIENCE_S))

    return test_broker


class Bench:
    """A server, fresh names on it, and what a case does again and again."""

    def __init__(self, server: BrokerServer, open: Open) -> None:
        self.server = server
        self.open = open
        self.topic = f"suite.t{uuid4().hex[:12]}"
        self.group = f"g-{uuid4().hex[:12]}"

    def broker(self) -> Broker:
        return self.open(self.server.url, lease_s=LEASE_S)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Broker]:
        broker = self.broker()
        await broker.connect(PATIENCE_S)
        try:
            yield broker
        finally:
            await broker.close()

    async def member(self, broker: Broker, group: str = "", member: str = "") -> Subscription:
        return await broker.subscribe([self.topic], group or self.group, member=member, timeout_s=PATIENCE_S)

    def messages(self, count: int, keys: int = 1) -> list[Message]:
        return [Message(uuid4().hex, self.topic, f"k{n % keys}", {}, str(n).encode()) for n in range(count)]


async def a_message_arrives_as_it_was_sent(bench: Bench) -> None:
    sent = [
        Message(uuid4().hex, bench.topic, "", {}, b""),
        Message(uuid4().hex, bench.topic, "table 7", {"content-type": "text/plain", "X_Trace-1": "00-ab"}, b"plain"),
        Message(
            uuid4().hex, bench.topic, "Gäste/öl ☕ %41", {"note": 'kør 100% "søt" ☕', "empty": ""}, bytes(range(256))
        ),
        Message("café:/+?=&%☕", bench.topic, "table 7", {}, b"\r\n\0\xff" * 5000),
    ]
    async with bench.connected() as broker:
        subscription = await bench.member(broker)

        await broker.publish(sent)

        came = await _take(subscription, {message.id for message in sent})
        assert {message.id: message for message in came} == {message.id: message for message in sent}
        await subscription.close()


async def a_first_delivery_says_so(bench: Bench) -> None:
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish(bench.messages(1))

        (incoming,) = await _receive(subscription)

        assert incoming.attempt in (0, 1)
        await incoming.ack()
        await subscription.close()


async def messages_of_a_key_keep_their_order(bench: Bench) -> None:
    sent = bench.messages(300, keys=7)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)

        for start in range(0, len(sent), 50):
            await broker.publish(sent[start : start + 50])

        came = await _take(subscription, _ids(sent))
        _assert_order(came, sent)
        await subscription.close()


async def what_is_given_back_comes_again(bench: Bench) -> None:
    (sent,) = bench.messages(1)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish([sent])
        for delay_s in (0.0, 0.2):
            (incoming,) = await _receive(subscription)
            await incoming.nack(delay_s)

        (again,) = await _receive(subscription)

        assert again.message == sent
        await again.ack()
        assert await subscription.receive(timeout_s=2 * LEASE_S) == []
        await subscription.close()


async def what_is_acknowledged_does_not_come_again(bench: Bench) -> None:
    sent = bench.messages(10)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish(sent)
        await _take(subscription, _ids(sent))
        await subscription.close()

    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        assert await subscription.receive(timeout_s=2 * LEASE_S) == []
        await subscription.close()


async def what_a_dead_consumer_had_comes_before_what_is_newer(bench: Bench) -> None:
    *sent, fourth, fifth, sixth = bench.messages(6)
    later = [fourth, fifth, sixth]
    async with bench.connected() as broker:
        await (await bench.member(broker)).close()
        await broker.publish(sent)
        # The group's member is a process that takes everything, acknowledges nothing, and is killed.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_hold, args=(bench.open, bench.server.url, (bench.topic, bench.group), len(sent), theirs)
        )
        process.start()
        assert await asyncio.to_thread(ours.poll, PATIENCE_S), "the other process received nothing"
        assert ours.recv() == sorted(_ids(sent))
        process.kill()
        process.join()
        await broker.publish(later)

        subscription = await bench.member(broker)
        came = await _take(subscription, _ids(sent + later))

        _assert_order(came, sent + later)
        await subscription.close()


def _hold(open: Open, url: str, where: tuple[str, str], count: int, told: Connection) -> None:
    """Take *count* messages, tell their ids, and never settle them."""

    async def hold() -> None:
        broker = open(url, lease_s=LEASE_S)
        await broker.connect(PATIENCE_S)
        subscription = await broker.subscribe([where[0]], where[1], timeout_s=PATIENCE_S)
        held: list[Incoming] = []
        while len(held) < count:
            held += await subscription.receive(timeout_s=1)
        told.send(sorted({incoming.message.id for incoming in held}))
        await asyncio.sleep(PATIENCE_S)

    asyncio.run(hold())


async def a_working_consumer_keeps_its_messages(bench: Bench) -> None:
    """Longer than the lease, because it is alive."""
    async with bench.connected() as broker, bench.connected() as other:
        worker = await bench.member(broker, member="a")
        await broker.publish(bench.messages(1))
        (held,) = await _receive(worker)
        idle = await bench.member(other, member="b")

        assert await idle.receive(timeout_s=3 * LEASE_S) == []

        # Where the group's members share by their number, the message may move to the new one; it is not lost then.
        with suppress(Unavailable):
            await held.ack()
        await idle.close()
        await worker.close()


async def members_of_a_group_share(bench: Bench) -> None:
    sent = bench.messages(200, keys=50)
    async with bench.connected() as broker, bench.connected() as other:
        members = [await bench.member(broker, member="a"), await bench.member(other, member="b")]
        await asyncio.gather(*(_settled(member) for member in members))
        parts: list[set[str]] = [set(), set()]

        async def work(number: int) -> None:
            while len(parts[0] | parts[1]) < len(sent):
                with suppress(Unavailable):
                    for incoming in await members[number].receive(10, timeout_s=0.5):
                        parts[number].add(incoming.message.id)
                        await incoming.ack()

        await broker.publish(sent)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(work(0), work(1))

        assert parts[0] | parts[1] == _ids(sent)
        assert parts[0], "the first member got nothing"
        assert parts[1], "the second member got nothing"
        for member in members:
            await member.close()


async def each_group_gets_everything(bench: Bench) -> None:
    sent = bench.messages(20, keys=3)
    async with bench.connected() as broker:
        first = await bench.member(broker, f"{bench.group}-1")
        second = await bench.member(broker, f"{bench.group}-2")

        await broker.publish(sent)

        for subscription in (first, second):
            assert _ids(await _take(subscription, _ids(sent))) == _ids(sent)
            await subscription.close()


async def a_message_sent_again_has_its_id(bench: Bench) -> None:
    (sent,) = bench.messages(1)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish([sent])
        await broker.publish([sent])

        came = [incoming.message for incoming in await _receive(subscription, 5)]

        assert came
        assert all(message == sent for message in came)
        await subscription.close()


async def a_crash_loses_nothing_that_was_confirmed(bench: Bench) -> None:
    sent: list[Message] = []
    came: list[Message] = []
    is_back, is_published = asyncio.Event(), asyncio.Event()
    async with bench.connected() as broker, bench.connected() as other:
        subscription = await bench.member(other)

        async def publish() -> None:
            """Before, while and after the server is away."""
            while not is_back.is_set() or len(sent) < BATCHES_MIN * BATCH:
                batch = bench.messages(BATCH, keys=5)
                await _until_published(broker, batch)
                sent.extend(batch)
                while len(sent) - len(came) > AHEAD_MAX:  # noqa: ASYNC110 - of a list
                    await asyncio.sleep(0.01)
            is_published.set()

        async def consume() -> None:
            pauses = _pauses()
            while not is_published.is_set() or _ids(came) != _ids(sent):
                async with _paused_when_unavailable(pauses):
                    found = await _in_time(subscription.receive(timeout_s=2), 2 + 10)
                    came.extend(incoming.message for incoming in found)
                    await asyncio.gather(*(_in_time(incoming.ack(), 10 + 10) for incoming in found))

        async def crash() -> None:
            while len(came) < 2 * BATCH:  # noqa: ASYNC110 - of a list
                await asyncio.sleep(0.001)
            await asyncio.to_thread(_end(bench.server))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(bench.server.start)
            is_back.set()

        async with asyncio.timeout(2 * PATIENCE_S):
            await asyncio.gather(publish(), consume(), crash())

        _assert_order(came, sent)
        await subscription.close()


async def a_frozen_server_is_reported_in_time(bench: Bench) -> None:
    sent = bench.messages(2)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish(sent[:1])
        bench.server.freeze()
        try:
            for _ in range(3):
                error = await _in_time(_error_of(broker.publish(sent[1:], timeout_s=1)), 1 + 2)
                assert isinstance(error, Unavailable), error
            assert isinstance(await _in_time(_error_of(broker.ping(timeout_s=1)), 1 + 2), Unavailable)
        finally:
            bench.server.thaw()

        await _until_published(broker, sent[1:])
        assert _ids(await _take(subscription, _ids(sent))) == _ids(sent)
        await subscription.close()


async def a_message_that_is_too_large_is_named(bench: Bench) -> None:
    large = Message("the-large-one", bench.topic, "k", {}, b"x" * (bench.server.MESSAGE_BYTES_MAX + 4096))
    (sent,) = bench.messages(1)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)

        error = await _error_of(broker.publish([large]))

        assert isinstance(error, TooLarge), error
        assert "the-large-one" in error.detail
        await _until_published(broker, [sent])
        assert [message.id for message in await _take(subscription, {sent.id})] == [sent.id]
        await subscription.close()


async def closing_waits_for_what_is_being_published(bench: Bench) -> None:
    sent = bench.messages(100, keys=100)
    async with bench.connected() as reader:
        subscription = await bench.member(reader)
        broker = bench.broker()
        await broker.connect(PATIENCE_S)
        publishing = [asyncio.create_task(broker.publish([message], timeout_s=10)) for message in sent]
        await asyncio.sleep(0)

        await broker.close()

        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, Unavailable) for outcome in outcomes), outcomes
        confirmed = {message.id for message, outcome in zip(sent, outcomes, strict=True) if outcome is None}
        assert confirmed == _ids(sent), "a call that had begun was not finished"
        assert confirmed <= _ids(await _take(subscription, confirmed))
        assert isinstance(await _error_of(broker.publish(sent[:1])), Unavailable)
        await subscription.close()


async def closing_gives_back_what_was_not_acknowledged(bench: Bench) -> None:
    sent = bench.messages(5)
    async with bench.connected() as broker:
        subscription = await bench.member(broker)
        await broker.publish(sent)
        await _receive(subscription)
        await subscription.close()

        subscription = await bench.member(broker)

        assert _ids(await _take(subscription, _ids(sent))) == _ids(sent)
        await subscription.close()


async def a_server_that_is_not_there_is_reported_in_time(bench: Bench) -> None:
    broker = bench.broker()
    await asyncio.to_thread(_end(bench.server))
    try:
        error = await _in_time(_error_of(broker.connect(timeout_s=1)), 1 + 5)
        assert isinstance(error, Unavailable), error
        assert broker.name in error.detail
    finally:
        await asyncio.to_thread(bench.server.start)


async def nothing_to_publish_is_published(bench: Bench) -> None:
    async with bench.connected() as broker:
        await broker.publish([])
        await broker.ping()


Case = Callable[[Bench], Awaitable[None]]

CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        a_message_arrives_as_it_was_sent,
        a_first_delivery_says_so,
        messages_of_a_key_keep_their_order,
        what_is_given_back_comes_again,
        what_is_acknowledged_does_not_come_again,
        what_a_dead_consumer_had_comes_before_what_is_newer,
        a_working_consumer_keeps_its_messages,
        members_of_a_group_share,
        each_group_gets_everything,
        a_message_sent_again_has_its_id,
        a_crash_loses_nothing_that_was_confirmed,
        a_frozen_server_is_reported_in_time,
        a_message_that_is_too_large_is_named,
        closing_waits_for_what_is_being_published,
        closing_gives_back_what_was_not_acknowledged,
        a_server_that_is_not_there_is_reported_in_time,
        nothing_to_publish_is_published,
    )
}
"""The promises by their names."""

SHARED = ("a_working_consumer_keeps_its_messages", "members_of_a_group_share")
"""Those about groups of several members."""


def _end(server: BrokerServer) -> Callable[[], None]:
    return server.kill if server.SURVIVES_KILL else server.terminate


def _ids(messages: Iterable[Message]) -> set[str]:
    return {message.id for message in messages}


async def _in_time(call: Awaitable[Any], limit_s: float) -> Any:
    """What *call* gives. A call that goes on after *limit_s* fails the case."""
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    assert done, f"a call did not keep its deadline: still running after {limit_s:.0f} s"
    return task.result()


async def _error_of(call: Awaitable[Any]) -> Error | None:
    try:
        await call
    except Error as error:
        return error
    return None


async def _receive(subscription: Subscription, timeout_s: float = PATIENCE_S) -> list[Incoming]:
    """The next messages; none only after *timeout_s*."""
    found: list[Incoming] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not found:
                with suppress(Unavailable):
                    found = await subscription.receive(timeout_s=1)
    return found


async def _settled(subscription: Subscription) -> None:
    """Let a group find out who belongs to it."""
    for _ in range(4):
        with suppress(Unavailable):
            assert await subscription.receive(timeout_s=1) == []


async def _take(subscription: Subscription, ids: Collection[str]) -> list[Message]:
    """Receive and acknowledge until all of *ids* have come; everything, in the order in which it came."""
    came: list[Message] = []
    while not set(ids) <= _ids(came):
        found = await _receive(subscription)
        assert found, f"{len(set(ids) - _ids(came))} of {len(ids)} messages did not arrive"
        for incoming in found:
            came.append(incoming.message)
            with suppress(Unavailable):
                await incoming.ack()
    return came


def _pauses() -> Iterator[float]:
    """Twice as long each time, up to what a relay waits: a server that recovers is not to be pressed."""
    return itertools.chain((0.2 * 2**n for n in range(6)), itertools.repeat(10.0))


@asynccontextmanager
async def _paused_when_unavailable(pauses: Iterator[float]) -> AsyncIterator[None]:
    try:
        yield
    except Unavailable:
        await asyncio.sleep(next(pauses))


async def _until_published(broker: Broker, messages: list[Message]) -> None:
    """Publish until it is confirmed."""
    pauses = _pauses()
    while True:
        async with _paused_when_unavailable(pauses):
            await _in_time(broker.publish(messages, timeout_s=3), 3 + 3)
            return


def _assert_order(came: list[Message], sent: list[Message]) -> None:
    """Each key's messages came in the order in which they were sent, if those that came again are left out."""
    # A key of a dict stays where it was put first.
    first = list({message.id: message for message in came}.values())
    for key in {message.key for message in sent}:
        expected = [message.body for message in sent if message.key == key]
        found = [message.body for message in first if message.key == key]
        assert found == expected, f"key {key} lost its order: {_turned(found, expected)}"


def _turned(found: list[bytes], expected: list[bytes]) -> str:
    """Where the order is lost first."""
    place = next((n for n, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), 0)
    return f"at {place} came {found[place : place + 3]}, expected {expected[place : place + 3]}"
