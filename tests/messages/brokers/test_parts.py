"""What brokers have in common: the order of waves, addresses, what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.contract.errors import Unavailable
from toque.messages.brokers import Message, Refused, open_broker
from toque.messages.brokers.address import Address, login
from toque.messages.brokers.broker import check
from toque.messages.brokers.link import Late, Link, bounded
from toque.messages.brokers.waves import waves

batches = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y", "z"])), max_size=30).map(
    lambda places: [Message(str(number), topic, key) for number, (topic, key) in enumerate(places)]
)


@given(batches)
def test_a_wave_has_each_key_once_and_waves_keep_its_order(messages: list[Message]) -> None:
    found = waves(messages)

    for wave in found:
        keyed = [(message.topic, message.key) for message in wave if message.key]
        assert len(keyed) == len(set(keyed))
    flat = [message for wave in found for message in wave]
    assert sorted(flat, key=lambda message: int(message.id)) == messages
    for place in {(message.topic, message.key) for message in messages if message.key}:
        ids = [int(message.id) for message in flat if (message.topic, message.key) == place]
        assert ids == sorted(ids)


def test_messages_without_a_key_wait_for_none() -> None:
    assert len(waves([Message(str(n), "t") for n in range(50)])) == 1


def test_an_address_hides_its_password_and_knows_its_options() -> None:
    address = Address.read("nats://ana:s%20ecret@host:4222?stream=ORDERS", stream="toque", prefix="toque.")

    assert address.name == "nats://host:4222"
    assert address.options == {"stream": "ORDERS", "prefix": "toque."}
    assert "?" not in address.url
    assert login(address.url) == ("ana", "s ecret")


def test_an_option_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean stream"):
        open_broker("nats://host?steam=a")


def test_a_scheme_that_is_none_is_refused_with_examples() -> None:
    with pytest.raises(ValueError, match=r"nats://host.*got scheme 'http'"):
        open_broker("http://host")


def test_a_missing_driver_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    monkeypatch.delitem(sys.modules, "toque.messages.brokers.kafka", raising=False)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'toque\[kafka\]'"):
        open_broker("kafka://host:9092")


def test_the_port_loads_no_driver() -> None:
    import subprocess

    code = (
        "import sys, toque.messages.brokers; "
        "print(*sorted({'nats', 'aio_pika', 'aiokafka', 'redis', 'paho'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == ""


@pytest.mark.parametrize(
    "message", [Message("", "t"), Message("1", ""), Message("1", "t", "", {"a b": ""}), Message("1", "t", "", {"": ""})]
)
def test_a_message_that_no_broker_could_carry_is_refused(message: Message) -> None:
    with pytest.raises(ValueError, match=r"a message has|a header's name"):
        check([message])


async def test_a_call_that_ignores_its_cancellation_still_keeps_its_deadline() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    with pytest.raises(Late):
        await bounded(stubborn(), 0.05)
    released.set()


class Line:
    """A connection that a test holds both ends of."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended = 0
        self.failing = 0
        self.refusal: Refused | None = None

    async def connect(self, lost: object) -> int:
        if self.refusal is not None:
            raise self.refusal
        if self.failing:
            self.failing -= 1
            raise ConnectionError("not yet")
        self.opened += 1
        return self.opened

    async def disconnect(self, connection: int) -> None:
        self.ended += 1


async def test_a_lost_connection_is_rebuilt_and_the_old_one_ended() -> None:
    line = Line()
    line.failing = 3
    link: Link[int] = Link("test://host", line.connect, line.disconnect, ())
    await link.start(10)

    async def fail(connection: int) -> None:
        raise ConnectionError("cut")

    with pytest.raises(Unavailable, match="test://host failed to try: cut"):
        await link.call(fail, 10, "to try")

    assert await link.get(10) == 2
    await link.close(1)
    assert line.ended == line.opened == 2


async def test_a_call_does_not_outlive_its_connection() -> None:
    line = Line()
    link: Link[int] = Link("test://host", line.connect, line.disconnect, ())
    await link.start(10)

    async def wait(connection: int) -> None:
        await asyncio.sleep(3600)

    call = asyncio.create_task(link.call(wait, 3600, "to wait"))
    await asyncio.sleep(0.01)
    link.lose(1, "cut")

    with pytest.raises(Unavailable, match="lost before the answer"):
        await asyncio.wait_for(call, 10)
    await link.close(1)


async def test_a_refusal_is_told_at_once_and_not_tried_until_the_deadline() -> None:
    line = Line()
    line.refusal = Refused("wrong password")
    link: Link[int] = Link("test://host", line.connect, line.disconnect, ())

    with pytest.raises(Refused, match="wrong password"):
        await asyncio.wait_for(link.start(3600), 10)


async def test_a_first_try_that_failed_is_followed_by_others() -> None:
    line = Line()
    line.refusal = Refused("wrong password")
    link: Link[int] = Link("test://host", line.connect, line.disconnect, ())
    for _ in range(2):
        with pytest.raises(Refused, match="wrong password"):
            await link.start(1)

    line.refusal = None
    await link.start(1)

    assert await link.get(1) == 1
    await link.close(1)
