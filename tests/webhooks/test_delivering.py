"""From a command to a receiver and back: real events, a real database, real receivers; both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

import receiver as answers
from receiver import Receiver, answer, receiving
from toque import App, Conflict, Event, Invalid, NotFound, Outbox, Principal, Webhooks, public
from toque.http_client.failures import AddressRefused
from toque.log.cursor import BEGINNING
from toque.messages.webhooks.dispatcher import CLAIM
from toque.messages.webhooks.endpoints import Endpoint
from toque.messages.webhooks.fan_out import FanOut
from toque.messages.webhooks.statement import reading, writing
from toque.messages.webhooks.webhooks import NewEndpoint
from toque.settings import App as AppSettings
from toque.settings import Database, Http, HttpClient, Secret, Settings
from toque.settings import Webhooks as WebhookSettings
from toque.store.database import Database as Db
from toque.store.database import transaction_of
from toque.testing import Harness, running


class OrderPlaced(Event):
    table: int


class OrderPaid(Event):
    amount: int


class Whispered(Event):
    """An event that the app does not send."""

    text: str


def shop() -> App:
    app = App("shop")
    app.sends(OrderPlaced, OrderPaid)

    @app.command(allow=public)
    async def place(table: int, outbox: Outbox) -> None:
        outbox.publish(OrderPlaced(table), key=table)
        if table == 13:
            raise Conflict("there is no such table")

    @app.command(allow=public)
    async def pay(amount: int, outbox: Outbox) -> None:
        outbox.publish(OrderPaid(amount))

    @app.command(allow=public)
    async def whisper(text: str, outbox: Outbox) -> None:
        outbox.publish(Whispered(text))

    @app.command(allow=public)
    async def subscribe(
        url: str, webhooks: Webhooks, types: list[str] | None = None, kind: str = "hmac"
    ) -> NewEndpoint:
        return await webhooks.add(url, types or (), kind=kind)  # type: ignore[arg-type]

    @app.query(allow=public)
    async def endpoints(webhooks: Webhooks) -> list[Endpoint]:
        return await webhooks.all()

    @app.command(allow=public)
    async def rotate(id: str, webhooks: Webhooks) -> str:
        return await webhooks.rotate(id)

    @app.command(allow=public)
    async def turn(id: str, is_on: bool, webhooks: Webhooks) -> None:
        await (webhooks.enable(id) if is_on else webhooks.disable(id, "asked to"))

    @app.command(allow=public)
    async def remove(id: str, webhooks: Webhooks) -> None:
        await webhooks.remove(id)

    @app.command(allow=public)
    async def retry(id: str, webhooks: Webhooks) -> int:
        return await webhooks.retry(id)

    return app


def settings_for(url: str, **webhooks: Any) -> Settings:
    return Settings(
        database=Database(url=Secret(url)),
        http_client=HttpClient(allow=("127.0.0.0/8:*",)),
        webhooks=WebhookSettings(**webhooks),
    )


@asynccontextmanager
async def open_shop(url: str, **webhooks: Any) -> AsyncIterator[Harness]:
    async with running(shop(), settings=settings_for(url, **webhooks)) as harness:
        yield harness


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until it *holds*; whether it ever does is asserted, when is not."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.02)


async def rows(harness: Harness, text: str, *values: Any) -> list[Any]:
    store = harness.serving.system.store
    assert store is not None

    async def run(database: Db) -> list[Any]:
        transaction = transaction_of(database)
        found: list[Any] = await transaction.fetch(reading(text).within(transaction), values, 0, list)
        return [tuple(row) for row in found]

    return await store.query(run)


async def change(harness: Harness, text: str, *values: Any) -> None:
    store = harness.serving.system.store
    assert store is not None

    async def run(database: Db) -> None:
        transaction = transaction_of(database)
        await transaction.execute(writing(text).within(transaction), values)

    await store.command(run)


async def hurry(harness: Harness) -> None:
    """As if the schedule's next time had come."""
    await change(harness, "UPDATE @delivery SET due = 0")
    await change(harness, "UPDATE @endpoint SET paused_until = 0")
    ring(harness)


def ring(harness: Harness) -> None:
    messages = harness.serving.system.messages
    assert messages is not None
    messages.tail.ring()


def tables(receiver: Receiver) -> list[int]:
    return [msgspec.json.decode(one.body)["data"]["table"] for one in receiver.requests]


async def test_an_event_reaches_those_who_subscribed_signed_and_once(database_url: str) -> None:
    async with receiving() as all_of_it, receiving() as payments, open_shop(database_url) as harness:
        first = await harness.call("shop.subscribe", url=all_of_it.url("/hook"))
        await harness.call("shop.subscribe", url=payments.url(), types=["OrderPaid"])
        for table in range(5):
            await harness.call("shop.place", table=table)
        await harness.call("shop.whisper", text="secret")
        await harness.call("shop.pay", amount=7)
        await until(lambda: (len(all_of_it.requests), len(payments.requests)) == (6, 1))
        await until(lambda: _none_waits(harness))

    bodies = [msgspec.json.decode(one.body) for one in all_of_it.requests]
    assert sorted(body["type"] for body in bodies) == ["OrderPaid", *["OrderPlaced"] * 5]
    assert {body["data"].get("table") for body in bodies} == {0, 1, 2, 3, 4, None}
    assert all(body["timestamp"].endswith("Z") for body in bodies)
    assert len({one.headers["webhook-id"] for one in all_of_it.requests}) == 6
    for one in all_of_it.requests:
        Webhook(first.key).verify(one.body, one.headers)


async def _none_waits(harness: Harness) -> bool:
    return not await rows(harness, "SELECT id FROM @delivery")


async def test_an_event_of_a_command_that_failed_is_never_sent(database_url: str) -> None:
    async with receiving() as hook, open_shop(database_url) as harness:
        await harness.call("shop.subscribe", url=hook.url())

        with pytest.raises(Conflict):
            await harness.call("shop.place", table=13)
        await harness.call("shop.place", table=1)
        await until(lambda: hook.requests)

    assert tables(hook) == [1]


async def test_a_failed_delivery_comes_again_with_its_id_by_the_schedule(database_url: str) -> None:
    async with (
        receiving(answer(500, b"broken"), answers.drops, answer(204)) as hook,
        open_shop(database_url) as harness,
    ):
        await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=4)
        waits = []
        for tried, status in ((1, 500), (2, None)):
            await until(lambda tried=tried, status=status: _is_tried(harness, tried, status))  # type: ignore[misc]
            waits += await rows(harness, "SELECT tried, due - :1, status FROM @delivery", time.time())
            await hurry(harness)
        await until(lambda: _none_waits(harness))

    assert [one.headers["webhook-id"] for one in hook.requests] == [hook.requests[0].headers["webhook-id"]] * 3
    assert [(tried, status) for tried, _, status in waits] == [(1, 500), (2, None)]
    assert 0 < waits[0][1] <= 7.5
    assert 100 < waits[1][1] <= 450


async def _is_tried(harness: Harness, tried: int, status: int | None) -> bool:
    found = await rows(harness, "SELECT tried, status FROM @delivery WHERE reason <> ''")
    return found == [(tried, status)]


async def test_what_was_given_up_is_kept_and_can_be_tried_anew(database_url: str) -> None:
    async with receiving(answer(500, b"no")) as hook, open_shop(database_url) as harness:
        made = await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=4)
        for tried in range(1, 11):
            await until(lambda tried=tried: len(hook.requests) == tried)  # type: ignore[misc]
            await until(lambda tried=tried: _is_written(harness, tried))  # type: ignore[misc]
            await hurry(harness)
        state = await rows(harness, "SELECT state, tried, status, reason FROM @delivery")
        hook.answers[:] = [answer()]
        again = await harness.call("shop.retry", id=made.endpoint.id)
        await until(lambda: _none_waits(harness))

    assert state == [("failed", 10, 500, "no")]
    assert (again, len(hook.requests)) == (1, 11)


async def _is_written(harness: Harness, tried: int) -> bool:
    return bool(
        await rows(harness, "SELECT 1 FROM @delivery WHERE tried = :1 AND due < :2", tried, time.time() + 1e7)
    ) and not _running(harness)


def _running(harness: Harness) -> int:
    messages = harness.serving.system.messages
    assert messages is not None
    return len(messages.services[-1]._running)  # type: ignore[attr-defined]


async def test_an_endpoint_that_is_gone_is_disabled_and_the_app_is_told(database_url: str) -> None:
    async with receiving(answer(410)) as hook, open_shop(database_url) as harness:
        await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=1)
        await until(lambda: _is_disabled(harness))
        await harness.call("shop.place", table=2)
        (endpoint,) = await harness.call("shop.endpoints")
        messages = harness.serving.system.messages
        assert messages is not None
        entries, _ = await messages.reader.read(BEGINNING)

    assert (endpoint.state, endpoint.reason, len(hook.requests)) == ("disabled", "it answered 410 Gone", 1)
    (notice,) = [entry for entry in entries if entry.type == "toque.EndpointDisabled"]
    assert msgspec.json.decode(notice.data)["endpoint"] == endpoint.id


async def _is_disabled(harness: Harness) -> bool:
    return bool(await rows(harness, "SELECT 1 FROM @endpoint WHERE state = 'disabled'"))


async def test_an_endpoint_that_fails_for_days_is_disabled(database_url: str) -> None:
    async with receiving(answer(500)) as hook, open_shop(database_url) as harness:
        await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=1)
        await until(lambda: _has_failed_since(harness))
        await change(harness, "UPDATE @endpoint SET failing_since = :1", time.time() - 6 * 86_400)
        await hurry(harness)
        await until(lambda: _is_disabled(harness))
        (endpoint,) = await harness.call("shop.endpoints")

    assert endpoint.reason == "it has failed for 6.0 days"


async def _has_failed_since(harness: Harness) -> bool:
    return bool(await rows(harness, "SELECT 1 FROM @endpoint WHERE failing_since IS NOT NULL"))


async def test_an_endpoint_that_throttles_gets_nothing_until_it_said(database_url: str) -> None:
    async with receiving(answer(429, retry_after="3000"), answer()) as hook, open_shop(database_url) as harness:
        await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=1)
        await until(lambda: _has_failed_since(harness))
        await harness.call("shop.place", table=2)
        await until(lambda: _waiting(harness, 2))
        ring(harness)
        await asyncio.sleep(0.3)
        before = len(hook.requests)
        paused = await rows(harness, "SELECT paused_until - :1 FROM @endpoint", time.time())
        await hurry(harness)
        await until(lambda: _none_waits(harness))

    assert before == 1
    assert 2900 < paused[0][0] <= 3000


async def _waiting(harness: Harness, count: int) -> bool:
    return len(await rows(harness, "SELECT id FROM @delivery")) == count


async def test_a_dead_receiver_does_not_hold_up_the_others(database_url: str) -> None:
    async with (
        receiving(answers.keeps_silent) as dead,
        receiving() as good,
        open_shop(database_url, in_flight_max=8, endpoint_in_flight_max=2) as harness,
    ):
        await harness.call("shop.subscribe", url=dead.url())
        await harness.call("shop.subscribe", url=good.url())
        for table in range(12):
            await harness.call("shop.place", table=table)
        await until(lambda: len(good.requests) == 12)

        assert len(dead.requests) <= 2
    assert sorted(tables(good)) == list(range(12))


async def test_a_stopped_process_gives_back_what_it_could_not_finish(database_url: str) -> None:
    async with receiving(answers.keeps_silent) as hook:
        async with open_shop(database_url) as harness:
            await harness.call("shop.subscribe", url=hook.url())
            await harness.call("shop.place", table=4)
            await until(lambda: hook.requests)
        hook.answers[:] = [answer()]
        async with open_shop(database_url) as harness:
            await until(lambda: _none_waits(harness))

    assert len(hook.requests) == 2
    assert len({one.headers["webhook-id"] for one in hook.requests}) == 1


async def test_two_processes_deliver_each_event_once(database_url: str) -> None:
    async with receiving() as hook, open_shop(database_url) as one:
        other = shop().serve(settings_for(database_url, endpoint_in_flight_max=2))
        await other.start()
        try:
            await one.call("shop.subscribe", url=hook.url())
            for table in range(12):
                await one.call("shop.place", table=table)
            await until(lambda: len(hook.requests) >= 12)
            await until(lambda: _none_waits(one))
            both = [one.serving.system.messages, other.system.messages]
            delivering = [found.tail.holds(CLAIM) for found in both if found is not None]
        finally:
            await other.stop()

    assert sorted(delivering) == [False, True]
    assert sorted(tables(hook)) == list(range(12))


async def test_a_process_that_was_overtaken_sends_nothing_again(database_url: str) -> None:
    """It has read an event, slept, and goes on when the event was delivered and its row is gone."""
    async with receiving() as hook, open_shop(database_url) as harness:
        system = harness.serving.system
        assert system.store is not None
        assert system.messages is not None
        overtaken = FanOut(system.store, system.messages.reader, {"OrderPlaced"})
        await overtaken.step()
        await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.place", table=1)
        await until(lambda: hook.requests)
        await until(lambda: _none_waits(harness))

        must_look_again = await overtaken.step()
        ring(harness)
        await harness.call("shop.place", table=2)
        await until(lambda: len(hook.requests) >= 2)

    assert must_look_again
    assert tables(hook) == [1, 2]


async def test_a_tenants_endpoint_hears_of_its_own_events_alone(database_url: str) -> None:
    left, right = Principal(subject="ana", tenant="left"), Principal(subject="bob", tenant="right")
    async with receiving() as of_left, receiving() as of_app, open_shop(database_url) as harness:
        made = await harness.call("shop.subscribe", url=of_left.url(), principal=left)
        await harness.call("shop.subscribe", url=of_app.url())
        await harness.call("shop.place", table=1, principal=left)
        await harness.call("shop.place", table=2, principal=right)
        await until(lambda: len(of_app.requests) == 2)
        await until(lambda: _none_waits(harness))
        seen = [len(await harness.call("shop.endpoints", principal=who)) for who in (left, right)]
        for name, more in [("rotate", {}), ("turn", {"is_on": False}), ("remove", {}), ("retry", {})]:
            with pytest.raises(NotFound):
                await harness.call(f"shop.{name}", id=made.endpoint.id, principal=right, **more)

    assert (tables(of_left), sorted(tables(of_app)), seen) == ([1], [1, 2], [1, 0])


@pytest.mark.parametrize("kind", ["hmac", "ed25519"])
async def test_after_a_rotation_both_keys_sign_for_a_day(database_url: str, kind: str) -> None:
    async with receiving() as hook, open_shop(database_url) as harness:
        made = await harness.call("shop.subscribe", url=hook.url(), kind=kind)
        new = await harness.call("shop.rotate", id=made.endpoint.id)
        await harness.call("shop.place", table=1)
        await until(lambda: hook.requests)
        newest = await harness.call("shop.rotate", id=made.endpoint.id)
        await harness.call("shop.place", table=2)
        await until(lambda: len(hook.requests) == 2)

    first, second = (one.headers["webhook-signature"].split(" ") for one in hook.requests)
    assert (len(first), len(second)) == (2, 2)
    assert len({made.key, new, newest}) == 3
    if kind == "hmac":
        for key, received in ((made.key, 0), (new, 0), (new, 1), (newest, 1)):
            Webhook(key).verify(hook.requests[received].body, hook.requests[received].headers)


async def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled(database_url: str) -> None:
    async with receiving() as hook, receiving() as other, open_shop(database_url) as harness:
        made = await harness.call("shop.subscribe", url=hook.url())
        await harness.call("shop.subscribe", url=other.url())
        await harness.call("shop.turn", id=made.endpoint.id, is_on=False)
        await harness.call("shop.place", table=1)
        await until(lambda: other.requests)
        await harness.call("shop.turn", id=made.endpoint.id, is_on=True)
        await harness.call("shop.place", table=2)
        await until(lambda: len(other.requests) == 2 and hook.requests)
        await harness.call("shop.remove", id=made.endpoint.id)
        await harness.call("shop.place", table=3)
        await until(lambda: len(other.requests) == 3)

    assert tables(hook) == [2]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"url": "ftp://x"}, "https://"),
        ({"url": "https://user@x/"}, "Authorization"),
        ({"url": "https://shop.example/", "types": ["OrderPlacd"]}, "did you mean 'OrderPlaced'"),
        ({"url": "https://shop.example/", "types": ["Whispered"]}, "sends no such event"),
    ],
)
async def test_an_endpoint_that_cannot_be_says_why(inputs: dict[str, Any], told: str) -> None:
    async with running(shop()) as harness:
        with pytest.raises(Invalid, match=told):
            await harness.call("shop.subscribe", **inputs)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1:8443", "[::1]", "[::ffff:10.0.0.1]", "2130706433", "0177.0.0.1", "0x7f.1", "127.1"]
)
async def test_an_endpoint_at_a_closed_address_is_refused_when_it_is_added(host: str) -> None:
    async with running(shop()) as harness:
        with pytest.raises(AddressRefused, match=r"http_client\.allow"):
            await harness.call("shop.subscribe", url=f"https://{host}/in")

        assert await harness.call("shop.endpoints") == []


async def test_production_sends_over_tls_only(tmp_path: Path) -> None:
    url = Database(url=Secret(f"sqlite:///{tmp_path / 'shop.db'}"))
    async with open_shop(url.url.reveal()):
        """The tables are there."""
    production = AppSettings(environment="production")
    serving = shop().serve(Settings(app=production, http=Http(hosts=("shop.example",)), database=url))
    await serving.start()
    try:
        with pytest.raises(Invalid, match="https:// only"):
            await Harness(serving).call("shop.subscribe", url="http://shop.example/")
        await Harness(serving).call("shop.subscribe", url="https://shop.example/")
    finally:
        await serving.stop()
