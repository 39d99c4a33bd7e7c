"""What an app does because of messages, as the manifest has it: events, handlers, jobs, schedules and brokers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from toque.contract.event import Event
from toque.contract.limits import Limits, Rate
from toque.contract.operation import Operation
from toque.contract.schedule import Schedule
from toque.contract.shapes import JsonSchema, Shapes, plain
from toque.contract.signature import Signature

__all__ = [
    "BrokerEntry",
    "EventEntry",
    "HandlerEntry",
    "JobEntry",
    "Messaging",
    "Offer",
    "QueueEntry",
    "ScheduleEntry",
    "event_entries",
    "handler_entries",
    "job_entries",
    "queue_entries",
]


@dataclass(frozen=True, slots=True)
class Offer:
    """A handler or a job, and the limit that it got from the settings where it has none of its own."""

    operation: Operation
    signature: Signature
    deadline_s: float


class BrokerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A broker that every event is published to. Nothing here is secret."""

    protocol: str
    """The scheme of its address: `nats`, `amqps`."""
    host: str
    """Where it is, with its port: `queue.example:4222`."""
    prefix: str = ""
    """What stands before the type of an event there."""
    headers: str = ""
    """What stands before the name of a CloudEvents attribute there."""


@dataclass(frozen=True, slots=True)
class Messaging:
    """All of it, as it was declared."""

    events: Sequence[type[Event]] = ()
    handlers: Sequence[Offer] = ()
    jobs: Sequence[Offer] = ()
    sent: frozenset[str] = frozenset()
    """The types of the events that webhooks carry out."""
    taken_in: frozenset[str] = frozenset()
    """The types of the events that come in from the brokers."""
    brokers: Sequence[BrokerEntry] = ()
    queues: Sequence[Limits] = ()
    """The queues that have limits."""
    published_by: tuple[tuple[str, str], ...] = ()
    """The type of an event, and the name of an operation whose code names it and which may publish."""

    @property
    def types(self) -> Iterator[Any]:
        """Every type of theirs that has a schema."""
        yield from self.events
        for job in self.jobs:
            yield from (found.type for found in job.signature.inputs)
            if job.signature.output is not None:
                yield job.signature.output


class EventEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event."""

    type: str
    version: int
    summary: str
    description: str = ""
    schema: JsonSchema
    """Of its data, in the present version."""
    published_by: tuple[str, ...] = ()
    """Operations that may publish it: read from their code, so what no code names is not among them."""
    handled_by: tuple[str, ...] = ()
    is_sent: bool = False
    """Whether webhooks carry it to whoever subscribes."""
    is_taken_in: bool = False
    """Whether it comes in from the brokers, too."""


class HandlerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One consumer of events."""

    name: str
    """Under which it is known how far it has come."""
    event: str
    summary: str
    description: str = ""
    tags: tuple[str, ...] = ()
    on_failure: str
    attempts_max: int
    deadline_s: float


class ScheduleEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The moments at which a job begins by itself."""

    words: str
    """`every 60 s`, or a line of cron and its time zone."""
    interval_s: float = 0.0
    cron: str = ""
    zone: str = "UTC"
    missed: str = "last"


class JobEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job."""

    name: str
    """Under which it is kept while it waits."""
    queue: str
    summary: str
    description: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 0
    attempts_max: int
    deadline_s: float
    keep_result_s: float = 0.0
    has_outside_effects: bool = False
    inputs: JsonSchema
    """Of the object that is kept while it waits: an input a member."""
    output: JsonSchema | None = None
    schedule: ScheduleEntry | None = None


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many jobs of one queue begin, in all processes together; None where there is no such limit."""

    name: str
    at_once: int | None = None
    rate: str | None = None
    """`100/60s`: so many in any time of so many seconds."""
    at_once_per_key: int | None = None
    rate_per_key: str | None = None


def event_entries(messaging: Messaging, shapes: Shapes) -> Iterator[EventEntry]:
    """The events in the order of their types."""
    for event in sorted(messaging.events, key=lambda each: each.type_name()):
        name = event.type_name()
        summary, description = _said(event)
        handled_by = (each.operation.name for each in messaging.handlers if _type_of(each) == name)
        yield EventEntry(
            type=name,
            version=event.__version__,
            summary=summary,
            description=description,
            schema=shapes.of(event),
            published_by=tuple(sorted({by for type, by in messaging.published_by if type == name})),
            handled_by=tuple(sorted(handled_by)),
            is_sent=name in messaging.sent,
            is_taken_in=name in messaging.taken_in,
        )


def handler_entries(messaging: Messaging) -> Iterator[HandlerEntry]:
    """The handlers in the order of their names."""
    for each in sorted(messaging.handlers, key=lambda one: one.operation.name):
        operation = each.operation
        yield HandlerEntry(
            name=operation.name,
            event=_type_of(each),
            summary=operation.summary,
            description=operation.description,
            tags=operation.tags,
            on_failure=operation.on_failure,
            attempts_max=operation.attempts_max,
            deadline_s=each.deadline_s,
        )


def job_entries(messaging: Messaging, shapes: Shapes) -> Iterator[JobEntry]:
    """The jobs in the order of their names."""
    for each in sorted(messaging.jobs, key=lambda one: one.operation.name):
        operation, rules, output = each.operation, each.operation.job, each.signature.output
        assert rules is not None, "a job has rules"
        yield JobEntry(
            name=operation.name,
            queue=rules.queue,
            summary=operation.summary,
            description=operation.description,
            tags=operation.tags,
            priority=rules.priority,
            attempts_max=rules.retries.attempts_max,
            deadline_s=each.deadline_s,
            keep_result_s=0.0 if output is None else rules.keep_result_s,
            has_outside_effects=operation.has_outside_effects,
            inputs=_object_of(each.signature, shapes),
            output=None if output is None else shapes.of(output),
            schedule=None if rules.schedule is None else _schedule(rules.schedule),
        )


def queue_entries(messaging: Messaging) -> Iterator[QueueEntry]:
    """The queues that have limits, in the order of their names."""
    for limits in sorted(messaging.queues, key=lambda one: one.queue):
        yield QueueEntry(
            name=limits.queue,
            at_once=limits.at_once,
            rate=_rate(limits.rate),
            at_once_per_key=limits.at_once_per_key,
            rate_per_key=_rate(limits.rate_per_key),
        )


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else f"{rate.count}/{rate.period_s:g}s"


def _schedule(schedule: Schedule) -> ScheduleEntry:
    return ScheduleEntry(
        words=schedule.words,
        interval_s=schedule.interval_s,
        cron=schedule.cron,
        zone=schedule.zone,
        missed=schedule.missed,
    )


def _object_of(signature: Signature, shapes: Shapes) -> JsonSchema:
    members = {found.name: shapes.of(found.type) for found in signature.inputs}
    for found in signature.inputs:
        if not found.is_required and (default := plain(found.default)) is not None:
            members[found.name] = {**members[found.name], "default": default}
    required = [found.name for found in signature.inputs if found.is_required]
    return {"type": "object", "properties": members, "required": required}


def _said(event: type[Event]) -> tuple[str, str]:
    """The first line of its docstring, and the rest; its name as words where it has none of its own."""
    first, _, rest = (event.__dict__.get("__doc__") or "").strip().partition("\n")
    # msgspec writes the signature of a struct that has no docstring into its place.
    if not first or first.startswith(f"{event.__name__}("):
        first, rest = event.type_name(), ""
    return first.rstrip("."), "\n".join(line.strip() for line in rest.strip().splitlines())


def _type_of(handler: Offer) -> str:
    event = handler.operation.event
    assert event is not None, "a handler is on an event"
    return event.type_name()
