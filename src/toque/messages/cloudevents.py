"""CloudEvents 1.0.2: an event as others on the same wire describe it, in binary and in structured mode.

In binary mode the attributes are headers, named as each protocol's binding says, and the data is the body. In
structured mode the body is a JSON document with both. Which of the two came is told by its content type.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from toque.contract.errors import Fault, Invalid

__all__ = [
    "STRUCTURED",
    "Binding",
    "CloudEvent",
    "from_json",
    "from_message",
    "prefix_of",
    "to_binary",
    "to_json",
    "to_structured",
]

STRUCTURED = "application/cloudevents+json"
CONTENT_TYPE = "content-type"
SPEC_VERSION = "1.0"

Binding = Literal["http", "kafka", "nats", "amqp", "mqtt"]

_PREFIXES: dict[Binding, tuple[str, ...]] = {
    "http": ("ce-",),  # HTTP 1.0.2, 3.1.3
    "kafka": ("ce_",),  # Kafka 1.0.2, 3.2.3
    "nats": ("ce-",),  # NATS 1.0.2, 3.1.3
    "amqp": ("cloudEvents_", "cloudEvents:"),  # AMQP 1.0.2, 3.1.3: either may come; the first is taken by JMS too.
    "mqtt": ("",),  # MQTT 1.0.2, 3.1.3: user properties have the attributes' own names.
}
"""What stands before an attribute's name: the first when we write, any when we read."""

_REQUIRED = ("id", "source", "type")
_OPTIONAL = ("time", "subject", "dataschema")
_NAMED = (*_REQUIRED, *_OPTIONAL)

_EXTENSION = re.compile("[a-z0-9]+")
"""The name of an attribute (CloudEvents 1.0.2, "Naming Conventions")."""

_PLAIN = "!#$&'()*+,-./:;<=>?@[]^_`{|}~\\"
"""Visible ASCII but '"' and '%' stays as it is in an HTTP header; a space does not (HTTP 1.0.2, 3.1.3.2)."""


class CloudEvent(Struct, frozen=True, kw_only=True):
    """An event and what describes it. Equal `source` and `id` mean the same event."""

    id: str
    source: str
    """A URI reference: where it happened."""
    type: str
    time: str = ""
    """RFC 3339."""
    subject: str = ""
    datacontenttype: str = ""
    """Of `data`; empty means JSON in a structured event."""
    dataschema: str = ""
    data: bytes = b""
    extensions: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """What orders it among others (extension `partitionkey`)."""
        return self.extensions.get("partitionkey", "")


def prefix_of(binding: Binding) -> str:
    """What stands before an attribute's name in the headers that are written."""
    return _PREFIXES[binding][0]


def to_binary(event: CloudEvent, binding: Binding) -> tuple[dict[str, str], bytes]:
    """Headers and body. AMQP and MQTT have a place of their own for `content-type`, which our brokers put it to.

    Raises: Invalid where a required attribute is empty, or an extension's name is none.
    """
    prefix = prefix_of(binding)
    encode = _percent_encoded if binding == "http" else str
    headers = {prefix + name: encode(value) for name, value in _attributes(event).items()}
    if event.datacontenttype:
        headers[CONTENT_TYPE] = event.datacontenttype
    return headers, event.data


def to_structured(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Headers and body, the same over every protocol. Raises: as `to_binary`."""
    return {CONTENT_TYPE: f"{STRUCTURED}; charset=utf-8"}, to_json(event)


def from_message(headers: Mapping[str, str], body: bytes, binding: Binding) -> CloudEvent | None:
    """The event that a message carries in either mode; None where it is no CloudEvent.

    Raises: Invalid where it says it is one and is not.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    content_type = lowered.get(CONTENT_TYPE, "")
    if content_type.lower().startswith(STRUCTURED):
        return from_json(body)
    decode = unquote if binding == "http" else str
    for prefix in _PREFIXES[binding]:
        if prefix.lower() + "specversion" in lowered:
            found = {
                name.removeprefix(prefix.lower()): decode(value)
                for name, value in lowered.items()
                if name.startswith(prefix.lower()) and name != CONTENT_TYPE
            }
            if binding == "amqp" and found.get("time", "").isdecimal():
                # AMQP has a type for moments, milliseconds since 1970 (AMQP 1.0, 1.6.17); others may send that.
                found["time"] = datetime.fromtimestamp(int(found["time"]) / 1000, UTC).isoformat()
            return _event(found, content_type, body)
    return None


def to_json(event: CloudEvent) -> bytes:
    """The JSON document (JSON format 1.0.2). Raises: as `to_binary`."""
    document: dict[str, Any] = dict(_attributes(event))
    if event.datacontenttype:
        document["datacontenttype"] = event.datacontenttype
    if event.data:
        member, value = _member(event)
        document[member] = value
    return msgspec.json.encode(document)


def from_json(document: bytes) -> CloudEvent:
    """The event in a JSON document. Raises: Invalid."""
    try:
        members = msgspec.json.decode(document, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _invalid("$", f"a CloudEvent is a JSON object: {error}") from error
    content_type = members.pop("datacontenttype", None) or ""
    data = _data(members, content_type)
    return _event({name: _text(value) for name, value in members.items() if value is not None}, content_type, data)


def _attributes(event: CloudEvent) -> dict[str, str]:
    """All that is set but data and its type, checked."""
    named = {name: getattr(event, name) for name in _NAMED}
    for name in _REQUIRED:
        if not named[name]:
            raise _invalid(f"$.{name}", "it is required and must not be empty")
    for name in event.extensions:
        if not _EXTENSION.fullmatch(name) or name in (*_NAMED, "specversion", "data", "datacontenttype"):
            raise _invalid(f"$.{name}", "an extension's name has lower-case letters and digits, and is no attribute's")
    return {"specversion": SPEC_VERSION, **{n: value for n, value in named.items() if value}, **event.extensions}


def _event(attributes: dict[str, str], content_type: str, data: bytes) -> CloudEvent:
    version = attributes.pop("specversion", "")
    if version != SPEC_VERSION:
        raise _invalid("$.specversion", f"expected {SPEC_VERSION!r}, got {version!r}")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise _invalid(f"$.{name}", "it is required and must not be empty")
    named = {name: attributes.pop(name) for name in _NAMED if name in attributes}
    # Over MQTT the event shares its user properties with others, which may be named as they like.
    extensions = {name: value for name, value in attributes.items() if _EXTENSION.fullmatch(name)}
    return CloudEvent(**named, datacontenttype=content_type, data=data, extensions=extensions)


def _member(event: CloudEvent) -> tuple[str, Any]:
    """The data as a member of a JSON document (JSON format 1.0.2, 3.1)."""
    if _is_json(event.datacontenttype):
        try:
            msgspec.json.decode(event.data)
        except msgspec.DecodeError as error:
            raise _invalid("$.data", f"its type says JSON: {error}") from error
        return "data", msgspec.Raw(event.data)
    if event.datacontenttype.startswith("text/"):
        try:
            return "data", event.data.decode()
        except UnicodeDecodeError:
            pass
    return "data_base64", b64encode(event.data).decode()


def _data(members: dict[str, Any], content_type: str) -> bytes:
    encoded, value = members.pop("data_base64", None), members.pop("data", None)
    if encoded is not None:
        try:
            return b64decode(encoded, validate=True)
        except (ValueError, TypeError) as error:
            raise _invalid("$.data_base64", f"expected base64: {error}") from error
    if value is None:
        return b""
    if isinstance(value, str) and not _is_json(content_type):
        return value.encode()
    return msgspec.json.encode(value)


def _is_json(content_type: str) -> bool:
    """Whether data of this type is a JSON value; without a type it is one (JSON format 1.0.2, 3.1.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return not media_type or media_type.endswith(("/json", "+json"))


def _text(value: Any) -> str:
    """An attribute's canonical text (CloudEvents 1.0.2, "Type System")."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _percent_encoded(text: str) -> str:
    return quote(text, safe=_PLAIN)


def _invalid(path: str, message: str) -> Invalid:
    return Invalid("This is no CloudEvent 1.0.", faults=[Fault(path, message)])
