"""`toque explain` of what messages start: handlers, jobs and schedules; and of the events themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import time

import msgspec

from toque.call.plan import Plan
from toque.contract.event import Event
from toque.contract.job import Retries
from toque.contract.manifest_messages import EventEntry, QueueEntry
from toque.contract.schedule import Schedule
from toque.messages.jobs.steps import Steps
from toque.serving import Serving
from toque.system.messaging import messaging_of

__all__ = ["event_called", "events_of", "of_event", "of_handler", "of_job"]

Row = tuple[str, str, str]
TypeName = Callable[[object], str]

MOMENTS = 3
"""Moments of a schedule that are named: enough to see its rhythm."""


def of_handler(serving: Serving, plan: Plan) -> Iterator[Row]:
    """What starts it, and what becomes of what it cannot handle."""
    operation, event = plan.operation, plan.operation.event
    assert event is not None, "a handler is on an event"
    entry = _entry(serving, event.type_name())
    yield "event", f"{event.type_name()}, version {event.__version__}", "@app.on"
    yield "published by", ", ".join(entry.published_by) or "nobody here", "code that names it, and may publish"
    yield "consumer", operation.name, "its name; under another it is another, and begins anew"
    if operation.on_failure == "park":
        yield "on failure", "park: later events of its key wait until somebody decides", "on_failure="
    else:
        yield "on failure", "skip: it is put aside, and its key goes on", "on_failure="
    yield "tries", f"{operation.attempts_max}, then it is a dead letter", "attempts_max="
    at_once, origin = serving.settings.messages.at_once, serving.settings.sources.get("messages.at_once", "default")
    yield "events at once", f"{at_once}, those of one key one after the other", f"messages.at_once, {origin}"
    yield from _publishes(serving, operation.name)


def of_job(serving: Serving, plan: Plan, type_name: TypeName) -> Iterator[Row]:
    """What it takes, when it begins, and what becomes of it when it fails."""
    operation, signature, rules = plan.operation, plan.signature, plan.operation.job
    assert rules is not None, "a job has rules"
    for found in signature.inputs:
        required = "required" if found.is_required else f"default {found.default!r}"
        yield f"input {found.name}", f"{type_name(found.type)}, {required}", "jobs.enqueue, in this order"
    if signature.output is not None:
        yield "result", f"{type_name(signature.output)}, kept {rules.keep_result_s:g} s", "keep_result_s="
    yield "queue", f"{rules.queue}, priority {rules.priority}", "queue=, priority="
    for limits in serving.manifest().queues:
        if limits.name == rules.queue:
            yield from _limits(limits)
    if rules.schedule is not None:
        yield from _schedule(rules.schedule)
    yield "tries", f"{rules.retries.attempts_max}{_pauses(rules.retries)}", "retries="
    for error, retries in rules.retries.by_error.items():
        yield f"after {error.__name__}", f"{retries.attempts_max}{_pauses(retries)}", "retries.by_error"
    if any(tp is Steps for _, tp in signature.resources):
        yield "steps", "durable: what one gave is recorded, and not done again", "it asks for Steps"
    jobs_max, origin = serving.settings.messages.jobs_max, serving.settings.sources.get("messages.jobs_max", "default")
    yield "jobs at once", f"{jobs_max} a process, of all queues", f"messages.jobs_max, {origin}"
    yield from _publishes(serving, operation.name)


def event_called(serving: Serving, name: str) -> type[Event] | None:
    """The event of the type, or of the class, called *name*."""
    events = messaging_of(serving.system, serving.app.modules).events
    exact = next((event for event in events if event.type_name() == name), None)
    return exact or next((event for event in events if event.__name__ == name), None)


def events_of(serving: Serving) -> list[str]:
    """The types of all events that the app knows."""
    return [event.type_name() for event in messaging_of(serving.system, serving.app.modules).events]


def of_event(serving: Serving, event: type[Event], type_name: TypeName) -> Iterator[Row]:
    """Who publishes it, who handles it, where else it goes, and which versions are understood."""
    entry = _entry(serving, event.type_name())
    yield "type", entry.type, _where(event)
    yield "version", str(entry.version), "__version__"
    yield from _upcast(event)
    for field in msgspec.structs.fields(event):
        required = "required" if field.required else f"default {_default(field)!r}"
        yield f"field {field.name}", f"{type_name(field.type)}, {required}", "its class"
    for name in entry.published_by or ("nobody here",):
        yield "published by", name, "code that names it, and may publish"
    for name in entry.handled_by or ("nobody here",):
        yield "handled by", name, "@app.on"
    yield "webhooks", "carry it out" if entry.is_sent else "never carry it out", "app.sends"
    for broker in serving.manifest().brokers:
        where = f"{broker.protocol}://{broker.host} as {broker.prefix}{entry.type}"
        if entry.published_by:
            yield "published to", where, "messages.brokers"
        if entry.is_taken_in:
            yield "comes in from", where, "messages.topics"


def _limits(limits: QueueEntry) -> Iterator[Row]:
    for words, value in (
        ("at once", limits.at_once),
        ("in a time", limits.rate),
        ("of a key at once", limits.at_once_per_key),
        ("of a key in a time", limits.rate_per_key),
    ):
        if value is not None:
            yield f"queue, {words}", str(value), "app.queue"


def _schedule(schedule: Schedule) -> Iterator[Row]:
    yield "schedule", schedule.words, "@app.cron" if schedule.cron else "@app.every"
    moment, moments = time(), []
    for _ in range(MOMENTS):
        moment = schedule.after(moment)
        moments.append(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}")
    yield "next", ", ".join(moments), "UTC"
    words = {"none": "are not made up for", "last": "are made up for by one", "all": "are all made up for"}
    yield "missed moments", words[schedule.missed], "missed="


def _pauses(retries: Retries) -> str:
    if retries.attempts_max == 1:
        return ", then it is a dead letter"
    if retries.pauses_s:
        return f", after {', '.join(f'{pause:g}' for pause in retries.pauses_s)} s"
    return f", after up to {retries.first_s:g} s, then twice as long, up to {retries.longest_s:g} s"


def _publishes(serving: Serving, operation: str) -> Iterator[Row]:
    types = [entry.type for entry in serving.manifest().events if operation in entry.published_by]
    if types:
        yield "publishes", ", ".join(types), "events that its code names"


def _entry(serving: Serving, type: str) -> EventEntry:
    return next(entry for entry in serving.manifest().events if entry.type == type)


def _upcast(event: type[Event]) -> Iterator[Row]:
    own = event.upcast.__func__ is not Event.upcast.__func__  # type: ignore[attr-defined]
    if event.__version__ == 1:
        if own:
            yield "upcast", "never used: there is no version before 1", f"{event.__name__}.upcast"
        return
    versions = "version 1" if event.__version__ == 2 else f"versions 1 to {event.__version__ - 1}"
    if own:
        yield "upcast", f"{versions}, by {event.__name__}.upcast", _where(event.upcast)
    else:
        yield "upcast", f"{versions}, read as written", f"{event.__name__} has no upcast of its own"


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _where(thing: Callable[..., object]) -> str:
    """`file.py:12`, where a class or function stands, if that can be found."""
    try:
        _, line = inspect.getsourcelines(thing)
    except (OSError, TypeError):
        return thing.__module__
    return f"{inspect.getsourcefile(thing)}:{line}"
