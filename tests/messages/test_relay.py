"""What is in the log reaches a real broker, and what a broker has comes into the log, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from relaying import SOURCE, STEPS

from toque.contract.errors import Unavailable
from toque.log.append import append
from toque.log.cursor import BEGINNING
from toque.log.entry import Entry
from toque.log.probe import EVENTS
from toque.log.reader import reader_of
from toque.log.tail import Tail
from toque.messages.brokers import Broker, Message, open_broker
from toque.messages.cloudevents import from_message
from toque.messages.dialects import both
from toque.messages.inflow import Inflow
from toque.messages.relay import Relay
from toque.messages.tables import RESTORED, lay_out
from toque.store import Store, open_store
from toque.store.database import Database, transaction_of
from toque.store.own import execute, look
from toque.store.prepared import Prepared
from toque.testing.servers import Server, private_broker

PATIENCE_S = 60.0

RELAYS = both("SELECT name FROM toque.relay")


@pytest.fixture(scope="module")
def nats() -> Iterator[Server]:
    try:
        server = private_broker("nats")
    except FileNotFoundError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test with a broker: {missing}")
        pytest.skip(str(missing))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def broker_url(nats: Server) -> str:
    """A stream of the test's own."""
    name = f"s{uuid4().hex[:10]}"
    return f"{nats.url}?stream={name}&prefix={name}."


@pytest.fixture
def store(log_store: Store) -> Store:
    return log_store


@asynccontextmanager
async def tail_of(store: Store) -> AsyncIterator[Tail]:
    tail = Tail(store.url, (EVENTS,))
    await tail.start()
    yield tail
    await tail.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broker]:
    broker = open_broker(url, lease_s=5)
    await broker.connect(PATIENCE_S)
    yield broker
    await broker.close()


async def publish(store: Store, *numbers: int, keys: int = 3, headers: dict[str, str] | None = None) -> None:
    async def run(database: Database) -> None:
        for number in numbers:
            key = f"k{number % keys}"
            append(transaction_of(database), "Counted", 2, key=key, headers=headers or {}, data=b"%d" % number)

    await store.command(run)


async def everything(store: Store) -> list[Entry]:
    reader, cursor, found = reader_of(store), BEGINNING, []
    while True:
        entries, cursor = await reader.read(cursor)
        found += entries
        if not entries and cursor.is_caught_up:
            return found


async def receive(broker: Broker, count: int, came: list[Message] | None = None) -> list[Message]:
    """All messages, until *count* different ones have come."""
    came = [] if came is None else came
    subscription = await broker.subscribe(["Counted"], uuid4().hex)
    async with asyncio.timeout(2 * PATIENCE_S):
        while len({message.id for message in came}) < count:
            with suppress(Unavailable):
                for incoming in await subscription.receive(timeout_s=1):
                    came.append(incoming.message)
                    await incoming.ack()
    await subscription.close()
    return came


def firsts(came: list[Message]) -> list[int]:
    """Their numbers in the order in which they came first."""
    return [int(message.body) for message in {message.id: message for message in reversed(came)}.values()][::-1]


def ordered(came: list[Message], keys: int = 3) -> bool:
    numbers = firsts(came)
    parts = [[number for number in numbers if number % keys == key] for key in range(keys)]
    return all(part == sorted(part) for part in parts)


async def test_what_is_published_reaches_the_broker_as_cloud_events(store: Store, broker_url: str) -> None:
    headers = {"subject": "ada", "roles": "cook", "tenant": "north", "traceparent": "00-ab-cd-01"}
    await publish(store, *range(20), headers=headers)
    async with tail_of(store) as tail, connected(broker_url) as broker:
        relay = Relay(store, reader_of(store), tail, open_broker(broker_url), source=SOURCE)
        await relay.start()

        came = await receive(broker, 20)
        await relay.stop()

    entries = await everything(store)
    assert [message.id for message in came] == [str(entry.id) for entry in entries]
    event = from_message(came[0].headers, came[0].body, "nats")
    assert event is not None
    assert (event.source, event.type, event.id, event.key) == (SOURCE, "Counted", str(entries[0].id), "k0")
    assert event.extensions == {
        "dataversion": "2",
        "partitionkey": "k0",
        "tenant": "north",
        "traceparent": "00-ab-cd-01",
    }


async def test_a_broker_that_comes_after_the_app_gets_what_waited(
    store: Store, nats: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(store, *range(3))
    late = type(nats)()
    async with tail_of(store) as tail:
        relay = Relay(store, reader_of(store), tail, open_broker(late.url), source=SOURCE)
        await relay.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while "cannot be reached" not in caplog.text:
                    await asyncio.sleep(0.1)
            # Whoever watches the figures sees that it is behind.
            assert [row[0] for row in await look(store, RELAYS[store.dialect_name])] == [f"relay {late.url}"]
            late.start()
            async with connected(late.url) as broker:
                came = await receive(broker, 3)
        finally:
            await relay.stop()
            late.stop()

    assert len(came) == 3


async def test_what_was_relayed_is_not_relayed_again_and_only_what_is_wanted_is(store: Store, broker_url: str) -> None:
    async with tail_of(store) as tail, connected(broker_url) as broker:
        await publish(store, 1, 2)
        for types in (("Counted",), ("Other",), None):
            # Not started: it would go on by itself beside us.
            relay = Relay(store, reader_of(store), tail, own := open_broker(broker_url), source=SOURCE, types=types)
            await own.connect()
            subscription = await broker.subscribe(["Counted"], uuid4().hex)
            while await relay.step():
                pass
            await relay.stop()

        came = [incoming.message for incoming in await subscription.receive(timeout_s=2)]

        assert firsts(came) == [1, 2]
        assert len(came) == 2
        await subscription.close()


async def test_a_relay_takes_up_the_place_that_a_restored_database_has(
    store: Store, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toque.messages.relay.LOOK_S", 0.0)
    relays = "toque_relay" if store.dialect_name == "sqlite" else "toque.relay"
    async with tail_of(store) as tail, connected(broker_url) as broker:
        relay = Relay(store, reader_of(store), tail, broker, source=SOURCE)
        await publish(store, 1)
        for _ in range(3):
            await relay.step()

        back = RESTORED["relay"].replace("@table", relays).replace("SET", "SET cursor = '{}',")
        await execute(store, Prepared(back, True))
        for _ in range(4):
            await relay.step()

        assert [count.value for count in relay.counts()] == [2]


async def test_one_process_relays_and_the_next_takes_over(store: Store, broker_url: str) -> None:
    async with tail_of(store) as first_tail, tail_of(store) as second_tail, connected(broker_url) as broker:
        first, second = (
            Relay(store, reader_of(store), tail, broker, source=SOURCE) for tail in (first_tail, second_tail)
        )
        await publish(store, 1)

        assert await first.step()
        assert not await second.step()
        # Frozen while the database took it for dead: the other one has it now.
        await first_tail.release(first._name)
        await publish(store, 2)
        assert await second.step()

        await publish(store, 3)
        fence, cursor = first._tenure or (0, BEGINNING)
        assert not await first._move(fence, cursor), "who was taken over has moved the cursor back"
        assert await second.step()
        assert firsts(await receive(broker, 3)) == [1, 2, 3]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 8))])
async def test_a_relay_that_is_killed_loses_nothing(
    store: Store, database_url: str, broker_url: str, seed: int
) -> None:
    chance = random.Random(seed)
    total, published = 150, 0
    # The last one is left alone.
    plan: list[tuple[str, int]] = [(step, chance.randint(1, 3)) for step in chance.sample(STEPS, 4)] + [("", 0)]

    async def relay_once(step: str, count: int) -> None:
        nonlocal published
        program = Path(__file__).with_name("relaying.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, database_url, broker_url, step, str(count), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        try:
            while process.returncode is None and (published < total or step):
                if published < total:
                    await publish(store, *range(published, published + 5))
                    published += 5
                await asyncio.sleep(0.02)
                if published >= total and step:
                    break  # It never came to that step again; it dies now.
            if not step:
                await done.wait()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    done = asyncio.Event()
    came: list[Message] = []

    async def take() -> None:
        async with connected(broker_url) as broker:
            await receive(broker, total, came)
        done.set()

    async def relay_all() -> None:
        for step, count in plan:
            await relay_once(step, count)

    await asyncio.wait_for(asyncio.gather(take(), relay_all()), 3 * PATIENCE_S)

    entries = await everything(store)
    assert {message.id for message in came} == {str(entry.id) for entry in entries}, f"seed {seed}: {plan}"
    assert ordered(came), f"seed {seed}: {plan}"


async def test_a_message_that_comes_again_is_one_event(store: Store, broker_url: str) -> None:
    foreign = Message("f-1", "Counted", "k1", {"content-type": "application/json"}, b"1")
    async with tail_of(store) as tail, connected(broker_url) as broker:
        inflow = Inflow(store, tail, broker, topics=["Counted"], group="app", source=SOURCE)
        await broker.publish([foreign])

        await inflow.step()
        # What a process does that died between the commit and the acknowledgement.
        await inflow._keep([foreign, foreign])
        await inflow._leave()

    (entry,) = await everything(store)
    assert (entry.type, entry.version, entry.key, entry.data) == ("Counted", 1, "k1", b"1")
    assert entry.headers == {"origin": f"{broker.name}/Counted", "origin_id": "f-1"}


async def test_what_cannot_be_committed_comes_again_in_its_order(store: Store, broker_url: str) -> None:
    async with tail_of(store) as tail, connected(broker_url) as broker:
        inflow = Inflow(store, tail, broker, topics=["Counted"], group="app", source=SOURCE)
        await broker.publish([Message(f"f-{n}", "Counted", "k", {}, b"%d" % n) for n in range(30)])
        keep, failures = inflow._keep, iter([True, True])

        async def failing(messages: Any) -> None:
            if next(failures, False):
                raise Unavailable("the database is away")
            await keep(messages)

        inflow._keep = failing  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(Unavailable):
                await inflow.step()
        await inflow.step()
        await inflow._leave()

    assert [int(entry.data) for entry in await everything(store)] == list(range(30))


async def test_what_is_no_json_is_kept_for_people_to_look_at(store: Store, broker_url: str) -> None:
    async with tail_of(store) as tail, connected(broker_url) as broker:
        inflow = Inflow(store, tail, broker, topics=["Counted"], group="app", source=SOURCE)
        bad = {"ce-specversion": "1.0", "ce-id": "x"}
        await broker.publish([Message("a", "Counted", "", {}, b"\xff"), Message("b", "Counted", "", bad, b"2")])
        await inflow.step()
        await inflow._leave()

    assert [entry.data for entry in await everything(store)] == [b'{"base64":"/w=="}', b"2"]


_WHATEVER = {"specversion": "1.0", "id": "b", "source": "urn:other", "type": "Counted", "data": 2}


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "a null \0"},
        {"source": "a null \0"},
        {"type": "a null \0"},
        {"partitionkey": "a null \0"},
        {"tenant": "a null \0"},
        {"dataversion": "99999999999999999999"},
        {"dataversion": "0"},
        {"dataversion": "\u0663"},
        {"id": "".join(map(chr, random.Random(1).choices(range(33, 1000), k=5000)))},
        {"partitionkey": "".join(map(chr, random.Random(2).choices(range(33, 1000), k=5000)))},
        {"type": "".join(map(chr, random.Random(3).choices(range(33, 1000), k=5000)))},
        {"data": "a null \0"},
        {"data": 10**400},
        {"data_base64": b64encode(b'"\xed\xa0\x80"').decode(), "data": None},
        {"data_base64": b64encode(b"[" * 900 + b"]" * 900).decode(), "data": None},
        {"data_base64": b64encode(b"[" * 5000 + b"]" * 5000).decode(), "data": None},
        {"data_base64": b64encode(b"NaN").decode(), "data": None},
        {"data_base64": "", "data": None},
    ],
    ids=lambda odd: next(iter(odd)),
)
async def test_whatever_comes_holds_up_nothing_else(store: Store, broker_url: str, odd: dict[str, Any]) -> None:
    """Anybody who may publish could stop a topic for good by one of these: what came with it was never written."""
    headers = {"content-type": "application/cloudevents+json"}
    document = json.dumps(_WHATEVER | odd).encode()
    async with tail_of(store) as tail, connected(broker_url) as broker:
        inflow = Inflow(store, tail, broker, topics=["Counted"], group="app", source=SOURCE)
        await broker.publish(
            [
                Message("a", "Counted", "k", {}, b"1"),
                Message("b", "Counted", "k", headers, document),
                Message("c", "Counted", "k", {}, b"3"),
            ]
        )
        await inflow.step()
        await inflow._leave()

    found = [entry.data for entry in await everything(store)]
    assert (found[0], found[-1], len(found)) == (b"1", b"3", 3)


async def test_events_go_from_one_app_to_another_and_not_back(store: Store, broker_url: str, tmp_path: Path) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    await lay_out(other_url)
    other = open_store(other_url)
    await other.start()
    await publish(store, *range(10))
    async with tail_of(store) as tail, tail_of(other) as other_tail:
        services = [
            Relay(store, reader_of(store), tail, open_broker(broker_url), source="urn:toque:one"),
            Inflow(store, tail, open_broker(broker_url), topics=["Counted"], group="one", source="urn:toque:one"),
            Relay(other, reader_of(other), other_tail, open_broker(broker_url), source="urn:toque:two"),
            Inflow(other, other_tail, open_broker(broker_url), topics=["Counted"], group="two", source="urn:toque:two"),
        ]
        for service in services:
            await service.start()
        async with asyncio.timeout(PATIENCE_S):
            while len(await everything(other)) < 10:
                await asyncio.sleep(0.05)
        await publish(other, 10)
        async with asyncio.timeout(PATIENCE_S):
            while len(await everything(store)) < 11:
                await asyncio.sleep(0.05)
        for service in services:
            await service.stop()

        assert [int(entry.data) for entry in await everything(other)] == list(range(11))
        assert [int(entry.data) for entry in await everything(store)] == list(range(11))
        assert {entry.version for entry in await everything(other)} == {2}
    await other.stop()
