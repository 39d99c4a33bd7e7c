"""The manifest: the stable, versioned document of all that an app offers. Everything generated comes from it.

Plain data: it can be written as JSON, kept beside a release and compared with the next (`contract.changes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from toque.contract.access import Access
from toque.contract.errors import CODES, Problem
from toque.contract.manifest_messages import (
    BrokerEntry,
    EventEntry,
    HandlerEntry,
    JobEntry,
    Messaging,
    QueueEntry,
    event_entries,
    handler_entries,
    job_entries,
    queue_entries,
)
from toque.contract.operation import Kind, Operation
from toque.contract.shapes import JsonSchema, Shapes, plain
from toque.contract.signature import Place, Signature, success_status

__all__ = [
    "AccessEntry",
    "ErrorEntry",
    "InputEntry",
    "Manifest",
    "Offered",
    "OperationEntry",
    "OutputEntry",
    "manifest",
]

VERSION = 1
"""Of the manifest's own form; it grows when a reader of the old form would misread the new one."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An operation as an app serves it: what its author declared, and what the app adds from its settings."""

    operation: Operation
    signature: Signature
    takes: tuple[str, ...]
    """The media types of a body, the best first; empty where no input comes from it."""
    gives: tuple[str, ...]
    """The media types of an answer, the best first; empty where it answers nothing."""
    deadline_s: float
    body_bytes_max: int
    reads_credential: bool
    """Whether it looks at who is calling; also an operation for anybody may."""
    has_all_rows: bool = False
    """Whether it is past the rules of the models."""


class AccessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call."""

    words: str
    is_public: bool
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()
    """Whose signed messages are taken."""
    takes_tokens: bool = True
    """Whether a bearer token can satisfy it."""


class InputEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input."""

    name: str
    place: str
    """Where HTTP finds it, a word of `signature.Place`."""
    wire_name: str
    is_required: bool
    schema: JsonSchema
    default: Any = None
    description: str = ""


class OutputEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it answers; of a stream, `schema` is that of one item."""

    schema: JsonSchema
    is_stream: bool = False
    is_binary: bool = False


class ErrorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One failure that a caller may hear about."""

    code: str
    http: int
    title: str


class OperationEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One operation."""

    name: str
    kind: str
    summary: str
    description: str = ""
    tags: tuple[str, ...] = ()
    access: AccessEntry
    reads_credential: bool
    has_all_rows: bool = False
    """Whether it reads and writes rows past the rules of the models (`AllRows`)."""
    inputs: tuple[InputEntry, ...] = ()
    output: OutputEntry | None = None
    path: str | None = None
    method: str = "GET"
    status: int = 200
    location: str | None = None
    has_page: bool = False
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    errors: tuple[ErrorEntry, ...] = ()
    deadline_s: float
    priority: str = "normal"
    body_bytes_max: int = 0
    is_idempotent: bool = False
    """Whether it takes an idempotency key."""
    is_deprecated: bool = False


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that an app offers, in the order of the operations' names."""

    manifest: int = VERSION
    name: str
    version: str
    description: str
    operations: tuple[OperationEntry, ...]
    events: tuple[EventEntry, ...] = ()
    handlers: tuple[HandlerEntry, ...] = ()
    jobs: tuple[JobEntry, ...] = ()
    queues: tuple[QueueEntry, ...] = ()
    brokers: tuple[BrokerEntry, ...] = ()
    problem: JsonSchema
    """The schema of every failure's document (RFC 9457)."""
    schemas: dict[str, JsonSchema]
    """What the schemas above refer to as `#/components/schemas/NAME`."""


def manifest(
    name: str, version: str, description: str, offered: Sequence[Offered], messaging: Messaging | None = None
) -> Manifest:
    """Describe an app. Apps that offer the same have equal manifests, in whatever order they declare it."""
    offered = sorted(offered, key=lambda one: one.operation.name)
    messaging = messaging or Messaging()
    shapes = _shapes(offered, messaging)
    return Manifest(
        name=name,
        version=version,
        description=description,
        operations=tuple(_entry(one, shapes) for one in offered),
        events=tuple(event_entries(messaging, shapes)),
        handlers=tuple(handler_entries(messaging)),
        jobs=tuple(job_entries(messaging, shapes)),
        queues=tuple(queue_entries(messaging)),
        brokers=tuple(messaging.brokers),
        problem=shapes.of(Problem),
        schemas=shapes.components,
    )


def _shapes(offered: Sequence[Offered], messaging: Messaging) -> Shapes:
    inputs = [found for one in offered for found in one.signature.inputs]
    shapes = Shapes(
        [
            *(found.type for found in inputs if found.place is not Place.UPLOAD),
            *(one.signature.output for one in offered if one.signature.output not in (None, bytes)),
            *messaging.types,
            Problem,
        ]
    )
    # Extensions stand beside the standard members of a problem, not below one (RFC 9457, 3.2).
    shapes.components["Problem"]["properties"].pop("extra")
    return shapes


BYTES: JsonSchema = {"type": "string", "format": "binary"}


def _entry(one: Offered, shapes: Shapes) -> OperationEntry:
    operation, signature = one.operation, one.signature
    access = operation.allow
    if access is None:
        raise ValueError(f"{operation.name} has no access rule; an app with it does not start")
    takes_body = bool(signature.places(Place.BODY, Place.MEMBER, Place.UPLOAD))
    return OperationEntry(
        name=operation.name,
        kind=operation.kind.value,
        summary=operation.summary,
        description=operation.description,
        tags=operation.tags,
        access=_access(access),
        reads_credential=one.reads_credential,
        has_all_rows=one.has_all_rows,
        inputs=tuple(_inputs(signature, shapes)),
        output=_output(signature, shapes),
        path=operation.path,
        method=operation.method,
        status=success_status(operation, signature),
        location=operation.location,
        has_page=operation.page is not None,
        takes=one.takes,
        gives=one.gives,
        errors=tuple(_errors(one)),
        deadline_s=one.deadline_s,
        priority=operation.priority,
        body_bytes_max=one.body_bytes_max if takes_body else 0,
        is_idempotent=operation.is_idempotent,
        is_deprecated=operation.is_deprecated,
    )


def _access(access: Access) -> AccessEntry:
    return AccessEntry(
        words=access.words[1:-1] if access.words.startswith("(") else access.words,
        is_public=not access.needs_principal,
        roles=tuple(sorted(access.roles)),
        scopes=tuple(sorted(access.scopes)),
        webhooks=tuple(sorted(access.webhooks)),
        takes_tokens=access.takes_tokens,
    )


def _inputs(signature: Signature, shapes: Shapes) -> Iterator[InputEntry]:
    for found in signature.inputs:
        shape = BYTES if found.place is Place.UPLOAD else shapes.of(found.type)
        yield InputEntry(
            name=found.name,
            place=found.place.value,
            wire_name=found.wire_name,
            is_required=found.is_required,
            schema=shape,
            default=None if found.is_required else plain(found.default),
            description=shape.get("description", ""),
        )


def _output(signature: Signature, shapes: Shapes) -> OutputEntry | None:
    if signature.output is None:
        return None
    if signature.output is bytes:
        return OutputEntry(schema=BYTES, is_stream=signature.is_stream, is_binary=True)
    return OutputEntry(schema=shapes.of(signature.output), is_stream=signature.is_stream)


def _errors(one: Offered) -> Iterator[ErrorEntry]:
    """What the author declared, and what the way of every call can end with (`call`, `transports`)."""
    operation, signature = one.operation, one.signature
    codes = {error.code for error in operation.errors} | {"bad_request", "overloaded", "unavailable"}
    codes |= {"deadline_exceeded", "internal"}
    if one.gives:
        codes.add("not_acceptable")
    if signature.inputs:
        codes.add("invalid")
    if signature.places(Place.PATH):
        codes.add("not_found")
    if signature.places(Place.BODY, Place.MEMBER, Place.UPLOAD):
        codes |= {"malformed", "request_timeout", "too_large", "unsupported_media_type"}
    if one.reads_credential:
        codes.add("unauthenticated")
    if operation.allow is not None and operation.allow.needs_principal:
        codes.add("forbidden")
    if operation.kind is Kind.COMMAND:
        codes |= {"conflict", "outcome_unknown"}
    if operation.is_idempotent:
        codes |= {"in_progress", "key_reused"}
    for code in sorted((CODES[name] for name in codes), key=lambda code: (code.http, code.name)):
        yield ErrorEntry(code=code.name, http=code.http, title=code.title)
