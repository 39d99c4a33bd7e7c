"""CloudEvents both ways against the CloudEvents project's own SDK, over each binding that it has."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings import amqp, http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Theirs
from hypothesis import given
from hypothesis import strategies as st

from toque.contract.errors import Invalid
from toque.messages.cloudevents import Binding, CloudEvent, from_json, from_message, to_binary, to_json, to_structured

OURS = CloudEvent(
    id="café 100% ☕",
    source="/restaurant/1",
    type="restaurant.OrderPlaced",
    time="2026-01-02T03:04:05+00:00",
    subject="order 7",
    datacontenttype="application/json",
    dataschema="https://restaurant.example/order.json",
    data=b'{"dishes":["soup","\xc3\xb8l"]}',
    extensions={"partitionkey": "table 7", "traceparent": "00-ab-cd-01"},
)


def same(theirs: Any, ours: CloudEvent) -> None:
    found = dict(theirs.get_attributes())
    assert found.pop("time") == datetime.fromisoformat(ours.time)
    assert found.pop("specversion") == "1.0"
    named = {name: getattr(ours, name) for name in ("id", "source", "type", "subject", "dataschema", "datacontenttype")}
    assert found == {**named, **ours.extensions}
    assert theirs.get_data() == json.loads(ours.data)


def theirs_of(ours: CloudEvent) -> Theirs:
    attributes = {
        name: getattr(ours, name) for name in ("id", "source", "type", "subject", "dataschema", "datacontenttype")
    }
    attributes |= {"specversion": "1.0", "time": datetime.fromisoformat(ours.time), **ours.extensions}
    return Theirs(attributes, json.loads(ours.data))


def normal(event: CloudEvent | None) -> tuple[Any, ...]:
    assert event is not None
    time = datetime.fromisoformat(event.time.replace("Z", "+00:00"))
    return (event.id, event.source, event.type, time, event.subject, event.dataschema, event.datacontenttype,
            json.loads(event.data), dict(event.extensions))  # fmt: skip


def test_the_sdk_reads_our_document() -> None:
    same(JSONFormat().read(Theirs, to_json(OURS)), OURS)


def test_we_read_the_sdks_document() -> None:
    assert normal(from_json(bytes(JSONFormat().write(theirs_of(OURS))))) == normal(OURS)


def test_the_sdk_reads_our_http() -> None:
    headers, body = to_binary(OURS, "http")
    assert all(value.isascii() and value.isprintable() for value in headers.values())

    same(http.from_binary_event(http.HTTPMessage(headers, body)), OURS)
    same(http.from_structured_event(http.HTTPMessage(*to_structured(OURS))), OURS)


def test_we_read_the_sdks_http() -> None:
    for write in (http.to_binary_event, http.to_structured_event):
        message = write(theirs_of(OURS))
        assert normal(from_message(message.headers, bytes(message.body), "http")) == normal(OURS)


def test_the_sdk_reads_our_kafka() -> None:
    headers, body = to_binary(OURS, "kafka")
    carried = {name: value.encode() for name, value in headers.items()}

    same(kafka.from_binary_event(kafka.KafkaMessage(carried, OURS.key, body)), OURS)


def test_we_read_the_sdks_kafka() -> None:
    for write in (kafka.to_binary_event, kafka.to_structured_event):
        message = write(theirs_of(OURS))
        headers = {name: value.decode() for name, value in message.headers.items()}
        assert normal(from_message(headers, bytes(message.value), "kafka")) == normal(OURS)


def test_the_sdk_reads_our_amqp() -> None:
    headers, body = to_binary(OURS, "amqp")
    content_type = headers.pop("content-type")

    same(amqp.from_binary_event(amqp.AMQPMessage({"content-type": content_type}, headers, body)), OURS)


def test_we_read_the_sdks_amqp() -> None:
    for write in (amqp.to_binary_event, amqp.to_structured_event):
        message = write(theirs_of(OURS))
        properties = {name: str(value) for name, value in message.properties.items()}
        headers = {**properties, **{name: _text(value) for name, value in message.application_properties.items()}}
        assert normal(from_message(headers, bytes(message.application_data), "amqp")) == normal(OURS)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


names = st.from_regex("[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: (
        name not in {"id", "source", "type", "time", "subject", "dataschema", "specversion", "data", "datacontenttype"}
    )
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
events = st.builds(
    CloudEvent,
    id=texts,
    source=texts,
    type=texts,
    subject=texts | st.just(""),
    datacontenttype=st.just("application/octet-stream"),
    data=st.binary(max_size=50),
    extensions=st.dictionaries(names, texts, max_size=3),
)


@given(events, st.sampled_from(["http", "kafka", "nats", "amqp", "mqtt"]), st.sampled_from([to_binary, None]))
def test_what_is_written_is_read(event: CloudEvent, binding: Binding, write: Callable[..., Any] | None) -> None:
    headers, body = to_structured(event) if write is None else write(event, binding)

    assert from_message(headers, body, binding) == event


def test_what_is_no_cloud_event_is_told_apart_from_a_bad_one() -> None:
    assert from_message({"content-type": "application/json"}, b"{}", "http") is None
    with pytest.raises(Invalid) as caught:
        from_message({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"}, b"", "http")
    assert caught.value.faults[0].path == "$.source"
    with pytest.raises(Invalid):
        from_json(b'{"specversion":"0.3","id":"1","source":"s","type":"t"}')
    with pytest.raises(Invalid):
        from_json(b"[]")
    with pytest.raises(Invalid):
        from_json(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"?"}')


@pytest.mark.parametrize("name", ["Upper", "with-dash", "id", "data", ""])
def test_a_name_that_no_extension_has_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        to_json(CloudEvent(id="1", source="s", type="t", extensions={name: "x"}))


def test_text_is_a_string_in_a_document_and_other_bytes_are_base64() -> None:
    text = CloudEvent(id="1", source="s", type="t", datacontenttype="text/plain", data="ø".encode())
    assert json.loads(to_json(text))["data"] == "ø"
    assert from_json(to_json(text)) == text
    image = CloudEvent(id="1", source="s", type="t", datacontenttype="image/png", data=b"\xff")
    assert json.loads(to_json(image))["data_base64"] == "/w=="
