"""The manifest's events, handlers, jobs and schedules; and what a new one breaks for those who wait or listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from msgspec import Struct, structs

from toque.contract.changes import breaking_changes
from toque.contract.event import Event
from toque.contract.job import Retries
from toque.contract.manifest import Manifest, manifest
from toque.contract.manifest_messages import BrokerEntry, Messaging, Offer
from toque.contract.module import Module
from toque.contract.operation import Operation
from toque.contract.signature import read_signature


class Dish(Struct):
    name: str
    price: float = 0.0


class Placed(Event):
    """An order was placed.

    The kitchen begins with it.
    """

    __type__ = "orders.Placed"

    order: UUID
    dishes: list[Dish]


class Bare(Event):
    number: int


class Bill(Struct):
    total: float


def offer(operation: Operation) -> Offer:
    return Offer(operation, read_signature(operation, frozenset()), operation.deadline_s or 10.0)


def describe(module: Module, *events: type[Event], **more: Any) -> Manifest:
    messaging = Messaging(
        events=events, handlers=list(map(offer, module.handlers)), jobs=list(map(offer, module.jobs)), **more
    )
    return manifest("bistro", "1", "", [], messaging)


def kitchen() -> Module:
    module = Module("kitchen")

    @module.on(Placed, attempts_max=3, on_failure="skip", deadline_s=5)
    async def cook(event: Placed) -> None:
        """Cook what was ordered."""

    @module.job(queue="bills", priority=2, retries=Retries(attempts_max=4), keep_result_s=60)
    async def bill(order: UUID, dishes: list[Dish], tip: float = 0.5) -> Bill:
        return Bill(1.0)

    @module.every("5m", missed="none")
    async def sweep() -> None: ...

    return module


def test_events_say_who_publishes_and_handles_them_and_where_they_go() -> None:
    found = describe(
        kitchen(), Placed, Bare,
        sent=frozenset({"orders.Placed"}), taken_in=frozenset({"Bare"}),
        published_by=(("orders.Placed", "orders.place"), ("orders.Placed", "orders.again"), ("Other", "x.y")),
    )  # fmt: skip

    bare, placed = found.events
    assert (placed.type, placed.version) == ("orders.Placed", 1)
    assert (placed.summary, placed.description) == ("An order was placed", "The kitchen begins with it.")
    assert placed.published_by == ("orders.again", "orders.place")
    assert placed.handled_by == ("kitchen.cook",)
    assert (placed.is_sent, placed.is_taken_in) == (True, False)
    assert found.schemas["Placed"]["required"] == ["order", "dishes"]
    assert placed.schema == {"$ref": "#/components/schemas/Placed"}
    assert (bare.summary, bare.is_sent, bare.is_taken_in, bare.handled_by) == ("Bare", False, True, ())


def test_handlers_and_jobs_are_described_in_full() -> None:
    found = describe(kitchen(), Placed)

    (cook,) = found.handlers
    assert (cook.name, cook.event, cook.summary) == ("kitchen.cook", "orders.Placed", "Cook what was ordered")
    assert (cook.on_failure, cook.attempts_max, cook.deadline_s) == ("skip", 3, 5)
    bill, sweep = found.jobs
    assert (bill.name, bill.queue, bill.priority, bill.attempts_max, bill.keep_result_s) == (
        "kitchen.bill", "bills", 2, 4, 60,
    )  # fmt: skip
    assert bill.inputs["required"] == ["order", "dishes"]
    assert bill.inputs["properties"]["tip"] == {"type": "number", "default": 0.5}
    assert bill.output == {"$ref": "#/components/schemas/Bill"}
    assert bill.schedule is None
    assert sweep.schedule is not None
    assert (sweep.schedule.words, sweep.schedule.interval_s, sweep.schedule.missed) == ("every 300 s", 300, "none")
    assert (sweep.output, sweep.keep_result_s) == (None, 0)


def test_the_manifest_comes_back_from_a_file_as_it_was() -> None:
    brokers = (BrokerEntry(protocol="nats", host="queue.example:4222", prefix="toque."),)
    found = describe(kitchen(), Placed, Bare, brokers=brokers)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Manifest) == found
    assert breaking_changes(found, found) == []


def test_a_manifest_of_before_messages_is_read_still() -> None:
    found = msgspec.json.decode(msgspec.json.encode(describe(kitchen(), Placed)), type=dict[str, Any])
    for name in ("events", "handlers", "jobs", "queues", "brokers"):
        del found[name]

    old = msgspec.convert(found, Manifest)

    assert (old.events, old.handlers, old.jobs) == ((), (), ())
    assert breaking_changes(old, describe(kitchen(), Placed)) == []


# What breaks.


def event(version: int = 1, **fields: Any) -> type[Event]:
    pairs = [(name, *tp) if isinstance(tp, tuple) else (name, tp) for name, tp in fields.items()]
    return msgspec.defstruct("Rung", pairs, bases=(Event,), kw_only=True, namespace={"__version__": version})


LOGGED = "and events of version 1 are in the log: raise __version__, and upcast them"

EVENTS: list[tuple[str, type[Event], type[Event], list[str]]] = [
    ("the same", event(a=int), event(a=int), []),
    ("a field more, with a default", event(a=int), event(a=int, b=(int, 0)), []),
    ("a field less", event(a=int, b=int), event(a=int), ["event Rung: its data.b is gone"]),
    ("a field more, without a default", event(a=int), event(a=int, b=int),
     [f"event Rung: its data.b is new and required, {LOGGED}"]),
    ("a field that must be there now", event(a=(int, 0)), event(a=int),
     [f"event Rung: its data.a is required, {LOGGED}"]),
    ("a field that may be missing now", event(a=int), event(a=(int, 0)),
     ["event Rung: its data.a may be missing, and was not"]),
    ("a field that must be there, in a next version", event(a=int), event(version=2, a=int, b=int), []),
    ("a wider field", event(a=int), event(a=float), ["event Rung: its data.a is number, and was integer"]),
    ("a narrower field", event(a=float), event(a=int),
     [f"event Rung: its data.a is integer, and was number, {LOGGED}"]),
    ("a version back", event(version=2, a=int), event(a=int),
     ["event Rung: its version is 1, and was 2: what was published is newer than what is known"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [case[1:] for case in EVENTS], ids=[case[0] for case in EVENTS])
def test_an_event_is_read_by_others_and_out_of_the_log(old: type[Event], new: type[Event], said: list[str]) -> None:
    assert breaking_changes(describe(Module("m"), old), describe(Module("m"), new)) == said


def test_an_event_that_goes_somewhere_no_more_breaks() -> None:
    bare = describe(Module("m"), Bare)
    nats = BrokerEntry(protocol="nats", host="queue.example:4222")
    old = describe(
        Module("m"), Bare, sent=frozenset({"Bare"}), taken_in=frozenset({"Bare"}), published_by=(("Bare", "m.x"),),
        brokers=(nats,),
    )  # fmt: skip

    assert breaking_changes(bare, describe(Module("m"))) == ["event Bare is gone"]
    assert breaking_changes(bare, old) == []
    assert breaking_changes(old, bare) == [
        "event Bare: it is no longer sent to webhooks",
        "event Bare: no code that publishes names it any more",
        "event Bare: it no longer comes in from the brokers",
        "nothing is published to nats://queue.example:4222 any more",
    ]


def handling(event: type[Event], on_failure: Literal["park", "skip"] = "park", name: str = "hear") -> Manifest:
    async def hear(event: Any) -> None: ...

    hear.__annotations__["event"] = event
    module = Module("m")
    module.on(event, name=name, on_failure=on_failure)(hear)
    return describe(module, Bare, Placed)


def test_a_consumer_keeps_its_name_its_event_and_its_order() -> None:
    assert breaking_changes(handling(Bare), handling(Bare, name="listen")) == [
        "handler m.hear is gone: its place in the log is lost, and what is parked for it is handled by nobody"
    ]
    assert breaking_changes(handling(Bare), handling(Placed)) == [
        "handler m.hear: it is on orders.Placed, and was on Bare, of which it leaves what it had not come to"
    ]
    assert breaking_changes(handling(Bare), handling(Bare, "skip")) == [
        "handler m.hear: it skips what it cannot handle, and kept the order of a key"
    ]
    assert breaking_changes(handling(Bare, "skip"), handling(Bare)) == []


def enqueueing(function: Callable[..., Any] | None, **options: Any) -> Manifest:
    module = Module("m")
    if function is not None:
        module.job(name="do", **options)(function)
    return describe(module)


def test_what_waits_is_found_and_fits() -> None:
    async def one(order: int) -> None: ...
    async def more(order: int, table: int) -> None: ...
    async def other(order: str) -> None: ...
    async def none() -> None: ...

    assert breaking_changes(enqueueing(one), enqueueing(None)) == [
        "job m.do is gone: those that wait are done by nobody"
    ]
    assert breaking_changes(enqueueing(one), enqueueing(more)) == [
        "job m.do: what was enqueued.table is new and required"
    ]
    assert breaking_changes(enqueueing(one), enqueueing(other)) == [
        "job m.do: what was enqueued.order is string, and was integer"
    ]
    assert breaking_changes(enqueueing(one), enqueueing(none)) == [], "what is not asked for any more is let lie"
    assert breaking_changes(enqueueing(one), enqueueing(one, queue="slow")) == [
        "job m.do: its queue is slow, and was default: those that wait there are found by nobody"
    ]


def test_a_result_is_read_as_it_was() -> None:
    async def bill() -> Bill:
        return Bill(1.0)

    async def dish() -> Dish:
        return Dish("soup")

    async def nothing() -> None: ...

    assert breaking_changes(enqueueing(bill), enqueueing(nothing)) == ["job m.do: it no longer returns anything"]
    assert breaking_changes(enqueueing(bill), enqueueing(dish)) == ["job m.do: its result.total is gone"]
    assert breaking_changes(enqueueing(bill, keep_result_s=60), enqueueing(bill, keep_result_s=5)) == [
        "job m.do: its result is kept for 5 s, and was for 60 s"
    ]


def test_what_is_not_declared_is_no_part_of_the_comparison() -> None:
    found = describe(kitchen(), Placed)

    assert breaking_changes(structs.replace(found, events=(), handlers=(), jobs=()), found) == []
