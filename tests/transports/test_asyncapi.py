"""The AsyncAPI document: valid by AsyncAPI's own schema, and true to what is published.

`asyncapi-3.0.0.json.gz` is `schemas/3.0.0-without-$id.json` of the npm package @asyncapi/specs 6.11.1 (Apache License
2.0), as it is.
"""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import jsonschema_rs
import msgspec
import pytest
from msgspec import Meta, Struct, structs

from toque import App, Event, Outbox, public
from toque.contract.conversion import enc_hook
from toque.settings import App as AppSettings
from toque.settings import Http, Messages, Secret, Settings
from toque.testing import running
from toque.transports.asyncapi import asyncapi

OFFICIAL = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi-3.0.0.json.gz").read_bytes()))
BROKERS = (
    Secret("nats://ana:s3cret@queue.example:4222?prefix=shop."),
    Secret("amqps://bo:s3cret@rabbit.example/"),
    Secret("mqtts://things.example"),
    Secret("nats://second.example"),
)


class Line(Struct):
    dish: str
    price: Decimal | None = None


class Placed(Event):
    """An order was placed.

    The kitchen begins with it.
    """

    __type__ = "orders.Placed"
    __version__ = 3

    order: UUID
    at: datetime
    lines: list[Line]
    place: tuple[int, str]
    first: Annotated[Line, Meta(description="The one that was said first.")]
    kind: Literal["here", "away"] = "here"
    seats: Annotated[int, Meta(ge=1, le=40)] = 1
    notes: dict[str, str] = {}


class Whispered(Event):
    text: str


class Delivered(Event):
    order: UUID


def bistro() -> App:
    app = App("bistro", version="2.0", description="A bistro.")
    app.sends(Placed)

    @app.command("/orders", allow=public)
    async def place(outbox: Outbox) -> None:
        outbox.publish(Whispered("soup"))
        outbox.publish(placed())

    @app.on(Placed, on_failure="skip", attempts_max=4)
    async def cook(event: Placed) -> None:
        """Cook what was ordered."""

    @app.on(Delivered)
    async def close(event: Delivered) -> None: ...

    return app


def placed() -> Placed:
    line = Line("soup", Decimal("4.50"))
    return Placed(uuid4(), datetime.now(UTC), [line, Line("bread")], (4, "garden"), line)


def document(**messages: Any) -> dict[str, Any]:
    settings = structs.replace(Settings(), messages=Messages(**messages))
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(asyncapi(bistro().serve(settings).manifest())))
    return found


def faults(found: Any) -> list[str]:
    return [
        f"{error.instance_path}: {error.message[:200]}"
        for error in jsonschema_rs.validator_for(OFFICIAL).iter_errors(found)
    ]


WITH_BROKERS = {"brokers": BROKERS, "topics": ("Delivered",)}


@pytest.mark.parametrize("messages", [{}, WITH_BROKERS], ids=["the log alone", "with brokers"])
def test_it_is_valid_by_the_official_schema(messages: dict[str, Any]) -> None:
    found = document(**messages)

    assert faults(found) == []
    assert faults({**found, "operations": {"x": {"action": "shout"}}}), "the schema would have found something"


def test_every_reference_leads_somewhere() -> None:
    found = document(**WITH_BROKERS)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [ref for each in value.values() for ref in references(each)]
        return [ref for each in value for ref in references(each)] if isinstance(value, list) else []

    for ref in references(found):
        target: Any = found
        for part in ref.removeprefix("#/").split("/"):
            assert part in target, ref
            target = target[part]
    assert set(found["components"]["schemas"]) == {"Delivered", "Line", "Placed", "Whispered"}, "and nothing else"


def test_an_event_is_where_it_goes_and_nowhere_else() -> None:
    found = document(**WITH_BROKERS)

    channels = {name: (each["address"], each["servers"][0]["$ref"]) for name, each in found["channels"].items()}
    assert channels == {
        "Delivered.log": ("Delivered", "#/servers/log"),
        "Delivered.nats": ("shop.Delivered", "#/servers/nats"),
        "Delivered.amqps": ("Delivered", "#/servers/amqps"),
        "Delivered.mqtts": ("Delivered", "#/servers/mqtts"),
        "Delivered.nats-2": ("toque.Delivered", "#/servers/nats-2"),
        "Whispered.log": ("Whispered", "#/servers/log"),
        "Whispered.nats": ("shop.Whispered", "#/servers/nats"),
        "Whispered.amqps": ("Whispered", "#/servers/amqps"),
        "Whispered.mqtts": ("Whispered", "#/servers/mqtts"),
        "Whispered.nats-2": ("toque.Whispered", "#/servers/nats-2"),
        "orders.Placed.log": ("orders.Placed", "#/servers/log"),
        "orders.Placed.nats": ("shop.orders.Placed", "#/servers/nats"),
        "orders.Placed.amqps": ("orders.Placed", "#/servers/amqps"),
        "orders.Placed.mqtts": ("orders.Placed", "#/servers/mqtts"),
        "orders.Placed.nats-2": ("toque.orders.Placed", "#/servers/nats-2"),
        "orders.Placed.webhooks": (None, "#/servers/webhooks"),
    }
    actions = {name: each["action"] for name, each in found["operations"].items()}
    assert actions["publish.orders.Placed.log"] == "send"
    assert actions["handle.bistro.cook"] == "receive"
    assert actions["relay.orders.Placed.nats"] == "send"
    assert actions["deliver.orders.Placed.webhooks"] == "send"
    assert actions["take.Delivered.amqps"] == "receive"
    assert "relay.Delivered.nats" not in actions, "what comes in from a broker is not sent to one"
    assert found["operations"]["handle.bistro.cook"]["x-toque"] == {
        "consumer": "bistro.cook", "on_failure": "skip", "attempts_max": 4, "deadline_s": 10.0,
    }  # fmt: skip


def test_brokers_are_servers_without_their_secrets() -> None:
    found = document(**WITH_BROKERS)

    servers = {name: (each["host"], each["protocol"]) for name, each in found["servers"].items()}
    assert servers == {
        "log": ("bistro", "toque"),
        "nats": ("queue.example:4222", "nats"),
        "amqps": ("rabbit.example", "amqps"),
        "mqtts": ("things.example", "secure-mqtt"),
        "nats-2": ("second.example", "nats"),
        "webhooks": ("{endpoint}", "https"),
    }
    assert "s3cret" not in json.dumps(found)
    assert set(document()["servers"]) == {"log", "webhooks"}


def test_messages_carry_cloudevents_as_each_protocol_writes_them() -> None:
    traits = document(**WITH_BROKERS)["components"]["messageTraits"]

    for name, prefix in (("nats", "ce-"), ("amqps", "cloudEvents_"), ("mqtts", "")):
        headers = traits[name]["headers"]
        assert headers["required"] == [f"{prefix}{each}" for each in ("specversion", "id", "source", "type")]
        assert f"{prefix}partitionkey" in headers["properties"]


def schema_of(found: dict[str, Any], message: str) -> Any:
    """The payload of a message, by itself."""
    payload = found["components"]["messages"][message]["payload"]
    return jsonschema_rs.Draft7Validator({**payload, "components": found["components"]} if "$ref" not in payload else {
        "allOf": [payload], "components": found["components"],
    })  # fmt: skip


def test_what_is_published_is_as_the_document_says() -> None:
    found, data = document(**WITH_BROKERS), msgspec.json.encode(placed(), enc_hook=enc_hook)
    published = json.loads(data)

    for message in ("orders.Placed.log", "orders.Placed.nats"):
        validator = schema_of(found, message)
        assert list(validator.iter_errors(published)) == []
        assert not validator.is_valid({**published, "place": ["garden", 4]}), "a tuple has its parts in their order"
        assert not validator.is_valid({**published, "first": {}})
        assert not validator.is_valid({**published, "seats": 41})
    sent = {"type": "orders.Placed", "timestamp": "2026-11-30T08:00:00Z", "data": published}
    assert schema_of(found, "orders.Placed.webhooks").is_valid(sent)
    assert not schema_of(found, "orders.Placed.webhooks").is_valid({**sent, "type": "Placed"})
    message = found["components"]["messages"]["orders.Placed.log"]
    assert (message["summary"], message["description"]) == ("An order was placed", "The kitchen begins with it.")
    assert message["x-toque"] == {"version": 3}


async def test_it_is_served_like_the_openapi_document() -> None:
    async with running(bistro()) as harness:
        answer = await harness.get("/asyncapi.json")
        again = await harness.get("/asyncapi.json", headers={"if-none-match": answer.headers["etag"]})

    assert (answer.status, again.status) == (200, 304)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document()


async def test_it_is_not_there_without_events_nor_in_production_unasked() -> None:
    plain = App("plain")

    @plain.query("/x", allow=public)
    async def x() -> int:
        return 1

    production = Settings(app=AppSettings(environment="production"), http=Http(hosts=("localhost",)))
    async with running(plain) as harness:
        assert (await harness.get("/asyncapi.json")).status == 404
    served = bistro().serve(production)
    assert "/asyncapi.json" not in {path for path, _ in served._own_endpoints()}
