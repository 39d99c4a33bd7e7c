"""What an app's code says of its events, for documents: who publishes which."""

from __future__ import annotations

from msgspec import structs

from toque import App, Event, Jobs, Module, Outbox, Steps, public
from toque.contract.manifest import Manifest
from toque.settings import Messages, Secret, Settings


class Placed(Event):
    order: int


class Cooked(Event):
    order: int


class Paid(Event):
    order: int


class Refused(Event):
    order: int


class Noted(Event):
    order: int


class Weighed(Event):
    grams: int


class Unsaid(Event):
    order: int


class Till:
    """A resource of the app that publishes."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def pay(self, order: int) -> None:
        self.outbox.publish(Paid(order))


def refuse(outbox: Outbox, order: int) -> None:
    outbox.publish(Refused(order), key=order)


async def charge(order: int, outbox: Outbox) -> None:
    outbox.publish(Paid(order))


def kitchen() -> App:
    module = Module("kitchen")
    app = App("bistro", modules=[module])

    @app.resource(lifetime="call")
    def till(outbox: Outbox) -> Till:
        return Till(outbox)

    @app.command(allow=public)
    async def place(order: int, outbox: Outbox, jobs: Jobs) -> None:
        if order < 0:
            refuse(outbox, order)
        outbox.publish(Placed(order))
        jobs.enqueue(bill, order)

    @app.command(allow=public)
    async def pay(order: int, till: Till) -> None:
        till.pay(order)

    @app.query(allow=public)
    async def look() -> str:
        return Unsaid.type_name()

    @module.on(Placed)
    async def cook(event: Placed, outbox: Outbox) -> None:
        outbox.publish(Cooked(event.order))

    module.queue("bills", at_once=3, rate_per_key="5/2m")

    @module.job(queue="bills")
    async def bill(order: int, steps: Steps) -> None:
        async def note(number: int, outbox: Outbox) -> None:
            outbox.publish(Noted(number))

        await steps.run("charge", charge, order)
        await steps.wait("cooked", Cooked, key=order)
        await steps.wait("weighed", Weighed, key=order)
        await steps.run("note", note, order)

    return app


def described(**messages: object) -> Manifest:
    app = kitchen()
    settings = structs.replace(Settings(), messages=structs.replace(Messages(), **messages))
    return app.serve(settings).manifest()


def test_whoever_may_publish_an_event_that_its_code_names_publishes_it() -> None:
    found = {entry.type: entry for entry in described().events}

    assert {type: entry.published_by for type, entry in found.items()} == {
        "Cooked": ("kitchen.cook",),
        "Noted": ("kitchen.bill",),
        "Paid": ("bistro.pay", "kitchen.bill"),
        "Placed": ("bistro.place",),
        "Refused": ("bistro.place",),
        "Weighed": (),
    }, "what a job publishes is not its enqueuer's, and what only reads, or waits for an event, publishes nothing"
    assert found["Placed"].handled_by == ("kitchen.cook",)


def test_brokers_are_told_without_their_passwords_and_topics_where_there_are_brokers() -> None:
    urls = (Secret("nats://ana:s3cret@queue.example:4222?prefix=shop."), Secret("mqtt://bo:s3cret@things.example"))
    found = described(brokers=urls, topics=("Placed", "Foreign"))

    assert [(one.protocol, one.host, one.prefix, one.headers) for one in found.brokers] == [
        ("nats", "queue.example:4222", "shop.", "ce-"),
        ("mqtt", "things.example", "", ""),
    ]
    assert "s3cret" not in repr(found)
    assert [entry.type for entry in found.events if entry.is_taken_in] == ["Placed"]
    assert not any(entry.is_taken_in for entry in described(topics=("Placed",)).events)


def test_queues_with_limits_say_them() -> None:
    (bills,) = described().queues

    assert (bills.name, bills.at_once, bills.rate, bills.rate_per_key) == ("bills", 3, None, "5/120s")


def test_an_app_without_messages_says_nothing_of_them() -> None:
    app = App("plain")

    @app.query("/x", allow=public)
    async def x() -> int:
        return 1

    found = app.serve().manifest()

    assert (found.events, found.handlers, found.jobs, found.brokers) == ((), (), (), ())
