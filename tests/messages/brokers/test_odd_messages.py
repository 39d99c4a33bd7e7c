"""Messages that another program wrote, in a form that ours never have: each is handed out, and holds up nothing."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from toque.messages.brokers import Message, open_broker
from toque.testing.servers import Server


async def received(server: Server, topic: str, count: int) -> list[Message]:
    broker = open_broker(server.url)
    await broker.connect()
    try:
        subscription = await broker.subscribe([topic], "readers")
        found = []
        while len(found) < count:
            for each in await subscription.receive(count, 10.0):
                found.append(each.message)
                await each.ack()
        await subscription.close()
        return found
    finally:
        await broker.close()


async def test_an_entry_of_redis_whose_headers_are_none_comes_in_without(redis: Server) -> None:
    async with Redis.from_url(redis.url) as stranger:
        for headers in (b"none", b"[1]", b'{"a": 1}', b"\xff", b"[" * 100_000, b'{"a": "b"}'):
            await stranger.xadd("strange", {"body": b"1", "headers": headers})

        found = await received(redis, "strange", 6)

    assert [message.headers for message in found] == [{}, {}, {}, {}, {}, {"a": "b"}]
    assert {message.body for message in found} == {b"1"}


async def test_a_record_of_kafka_may_have_headers_without_a_value(kafka: Server) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.url.removeprefix("kafka://"))
    await producer.start()
    try:
        # A tombstone, too: it has no value either.
        await producer.send_and_wait("strange", None, key=b"k", headers=[("empty", None), ("odd", b"\xff")])
    finally:
        await producer.stop()

    (found,) = await received(kafka, "strange", 1)

    assert (found.headers, found.key, found.body) == ({"empty": "", "odd": "\ufffd"}, "k", b"")
