"""The manifest's events as an AsyncAPI 3.0 document.

An event is in up to three places, each a channel: the app's own log, the brokers, and webhooks. So nobody takes what a
handler hears in the log for something that may be sent to a broker.
Sources: AsyncAPI 3.0.0; CloudEvents 1.0.2; Standard Webhooks 1.0; JSON Schema draft-07, which is AsyncAPI's own form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from toque.contract.manifest import Manifest
from toque.contract.manifest_messages import BrokerEntry, EventEntry, HandlerEntry

__all__ = ["asyncapi"]

Json = dict[str, Any]

LOG, WEBHOOKS = "log", "webhooks"

PROTOCOLS = {"tls": "nats", "rediss": "redis", "valkey": "redis", "mqtts": "secure-mqtt"}
"""AsyncAPI's words for the schemes of addresses that have others (3.0.0, "Server Bindings Object")."""

CLOUDEVENT: Json = {
    "specversion": {"const": "1.0"},
    "id": {"type": "string", "format": "uuid", "description": "Equal ids of one source are one event."},
    "source": {"type": "string", "format": "uri-reference"},
    "type": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "partitionkey": {"type": "string", "description": "Events with one key come in the order of their commits."},
    "dataversion": {"type": "string", "description": "The version of the event's data."},
    "traceparent": {"type": "string", "description": "W3C Trace Context."},
    "tenant": {"type": "string"},
}
REQUIRED = ("specversion", "id", "source", "type")

WEBHOOK: Json = {
    "webhook-id": {"type": "string", "description": "Equal over all tries: whoever has it already has the message."},
    "webhook-timestamp": {"type": "string", "pattern": "^[0-9]+$"},
    "webhook-signature": {"type": "string", "description": "Signatures by every key that is in use."},
}

SERVERS: Mapping[str, Json] = {
    LOG: {
        "protocol": "toque",
        "description": "The app's own log, in its database. Nobody outside reads it or writes to it.",
    },
    WEBHOOKS: {
        "host": "{endpoint}",
        "protocol": "https",
        "description": "Whoever subscribed. Messages are signed by Standard Webhooks 1.0, and tried again for days.",
        "variables": {"endpoint": {"description": "Where a subscriber wants them."}},
    },
}


def asyncapi(manifest: Manifest) -> Json:
    """Describe every event of the app: where it is published, and who in the app handles it."""
    found = _Document(manifest)
    for event in manifest.events:
        found.describe(event)
    return found.document()


class _Document:
    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._brokers = dict(_named(manifest.brokers))
        self._channels: Json = {}
        self._operations: Json = {}
        self._messages: Json = {}

    def document(self) -> Json:
        manifest = self._manifest
        servers = {LOG: {"host": manifest.name, **SERVERS[LOG]}} if manifest.events else {}
        servers |= {name: _server(broker) for name, broker in self._brokers.items()}
        if any(event.is_sent for event in manifest.events):
            servers[WEBHOOKS] = dict(SERVERS[WEBHOOKS])
        schemas = {_key(name): _draft7(schema) for name, schema in manifest.schemas.items()}
        return {
            "asyncapi": "3.0.0",
            "id": f"urn:toque:{manifest.name}",
            "info": {"title": manifest.name, "version": manifest.version, "description": manifest.description},
            "defaultContentType": "application/json",
            "servers": servers,
            "channels": self._channels,
            "operations": self._operations,
            "components": {
                "messages": self._messages,
                "messageTraits": {name: _cloudevent(broker) for name, broker in self._brokers.items()},
                "schemas": {name: schemas[name] for name in sorted(_used(self._messages, schemas))},
            },
        }

    def describe(self, event: EventEntry) -> None:
        self._in_log(event)
        for name, broker in self._brokers.items():
            self._at_broker(event, name, broker)
        if event.is_sent:
            self._by_webhook(event)

    def _in_log(self, event: EventEntry) -> None:
        channel = f"{_key(event.type)}.{LOG}"
        self._add_channel(channel, event, LOG, address=event.type, headers=None, payload=_draft7(event.schema))
        if event.published_by:
            self._send(channel, event, "publish", f"Published by {', '.join(event.published_by)}.")
        for handler in self._manifest.handlers:
            if handler.event == event.type:
                self._receive(channel, handler)

    def _at_broker(self, event: EventEntry, name: str, broker: BrokerEntry) -> None:
        if not event.published_by and not event.is_taken_in:
            return
        channel = f"{_key(event.type)}.{name}"
        self._add_channel(
            channel, event, name, address=broker.prefix + event.type, payload=_draft7(event.schema),
            traits=[{"$ref": f"#/components/messageTraits/{name}"}],
        )  # fmt: skip
        if event.published_by:
            self._send(channel, event, "relay", "Each at least once, in the order of its key.")
        if event.is_taken_in:
            operation = self._operation(channel, "receive", f"Take {event.type} in", "Each id of a source once.")
            self._operations[f"take.{channel}"] = operation

    def _by_webhook(self, event: EventEntry) -> None:
        channel = f"{_key(event.type)}.{WEBHOOKS}"
        payload = {
            "type": "object",
            "properties": {
                "type": {"const": event.type},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": _draft7(event.schema),
            },
            "required": ["type", "timestamp", "data"],
        }
        headers = {"type": "object", "properties": WEBHOOK, "required": list(WEBHOOK)}
        self._add_channel(channel, event, WEBHOOKS, address=None, headers=headers, payload=payload)
        self._send(channel, event, "deliver", "To every endpoint that hears of it.")

    def _add_channel(self, channel: str, event: EventEntry, server: str, *, address: str | None, **of: Any) -> None:
        message = {
            "name": event.type,
            "title": event.type,
            "summary": event.summary,
            "contentType": "application/json",
            **{name: value for name, value in of.items() if value is not None},
            "x-toque": {"version": event.version},
        }
        if event.description:
            message["description"] = event.description
        self._messages[channel] = message
        self._channels[channel] = {
            "address": address,
            "title": event.type,
            "messages": {_key(event.type): {"$ref": f"#/components/messages/{channel}"}},
            "servers": [{"$ref": f"#/servers/{server}"}],
        }

    def _send(self, channel: str, event: EventEntry, act: str, words: str) -> None:
        operation = self._operation(channel, "send", f"{act.capitalize()} {event.type}", words)
        if act == "publish":
            operation["x-toque"] = {"published_by": list(event.published_by)}
        self._operations[f"{act}.{channel}"] = operation

    def _receive(self, channel: str, handler: HandlerEntry) -> None:
        words = handler.description or "Once for each event, as far as the database is concerned."
        operation = self._operation(channel, "receive", handler.summary, words)
        operation["x-toque"] = {
            "consumer": handler.name,
            "on_failure": handler.on_failure,
            "attempts_max": handler.attempts_max,
            "deadline_s": handler.deadline_s,
        }
        operation["tags"] = [{"name": tag} for tag in handler.tags]
        self._operations[f"handle.{_key(handler.name)}"] = operation

    def _operation(self, channel: str, action: str, title: str, words: str) -> Json:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "title": title, "description": words}


def _named(brokers: tuple[BrokerEntry, ...]) -> Iterator[tuple[str, BrokerEntry]]:
    """A name for each broker: its protocol, with a number where that comes again."""
    seen: dict[str, int] = {}
    for broker in brokers:
        seen[broker.protocol] = count = seen.get(broker.protocol, 0) + 1
        yield broker.protocol if count == 1 else f"{broker.protocol}-{count}", broker


def _server(broker: BrokerEntry) -> Json:
    protocol = PROTOCOLS.get(broker.protocol, broker.protocol)
    return {
        "host": broker.host,
        "protocol": protocol,
        "description": "Events go there as CloudEvents 1.0, in binary mode.",
    }


def _cloudevent(broker: BrokerEntry) -> Json:
    """The headers of a message at *broker*."""
    prefix = broker.headers
    return {
        "headers": {
            "type": "object",
            "properties": {f"{prefix}{name}": schema for name, schema in CLOUDEVENT.items()},
            "required": [f"{prefix}{name}" for name in REQUIRED],
        }
    }


def _key(name: str) -> str:
    """*name* as a component's name may be (3.0.0, "Components Object")."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _draft7(schema: Any) -> Any:
    """*schema*, which is of JSON Schema 2020-12, in the words of draft-07: a `$ref` stands alone, and so on."""
    if isinstance(schema, list):
        return [_draft7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: each if name in _VALUES else _draft7(each) for name, each in schema.items()}
    if "prefixItems" in found:
        found |= {"items": found.pop("prefixItems"), "additionalItems": found.get("items", True)}
    if "$ref" in found and isinstance(found["$ref"], str):
        place, _, name = found.pop("$ref").rpartition("/")
        ref = {"$ref": f"{place}/{_key(name)}"}
        return {"allOf": [ref], **found} if found else ref
    return found


_VALUES = frozenset({"default", "const", "enum", "examples"})
"""What holds values, and no schemas."""


def _used(value: Any, schemas: Mapping[str, Json]) -> set[str]:
    """The names of those of *schemas* that *value* refers to, and that these do in turn."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            place, _, name = str(each.get("$ref", "")).rpartition("/")
            if place == "#/components/schemas" and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found
