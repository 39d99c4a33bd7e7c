"""What a new manifest breaks for those who hear of the old one's events, and for what the old release left behind.

It leaves events in the log, the places of its consumers, and jobs that wait.
"""

from __future__ import annotations

from collections.abc import Iterator

from toque.contract.fit import Fit, Schemas
from toque.contract.manifest import Manifest
from toque.contract.manifest_messages import EventEntry, HandlerEntry, JobEntry

__all__ = ["message_changes"]


def message_changes(old: Manifest, new: Manifest) -> Iterator[str]:
    """A sentence each."""
    schemas = old.schemas, new.schemas
    events = {entry.type: entry for entry in new.events}
    for event in old.events:
        if (successor := events.get(event.type)) is None:
            yield f"event {event.type} is gone"
        else:
            yield from (f"event {event.type}: {change}" for change in _of_event(event, successor, *schemas))
    handlers = {entry.name: entry for entry in new.handlers}
    for handler in old.handlers:
        change = _of_handler(handler, handlers.get(handler.name))
        yield from (f"handler {handler.name}{each}" for each in change)
    jobs = {entry.name: entry for entry in new.jobs}
    for job in old.jobs:
        if (following := jobs.get(job.name)) is None:
            yield f"job {job.name} is gone: those that wait are done by nobody"
        else:
            yield from (f"job {job.name}: {change}" for change in _of_job(job, following, *schemas))
    there = {(broker.protocol, broker.host) for broker in new.brokers}
    for broker in old.brokers:
        if (broker.protocol, broker.host) not in there:
            yield f"nothing is published to {broker.protocol}://{broker.host} any more"


def _of_event(old: EventEntry, new: EventEntry, before: Schemas, after: Schemas) -> Iterator[str]:
    """Others read it as they did, and the app itself reads what is in the log from before."""
    yield from Fit(after, before, is_output=True).misfits(new.schema, old.schema, "its data")
    if new.version < old.version:
        yield f"its version is {new.version}, and was {old.version}: what was published is newer than what is known"
    elif new.version == old.version:
        # A next version has `upcast`, of which no schema tells.
        for change in Fit(before, after, takes_more=True).misfits(old.schema, new.schema, "its data"):
            yield f"{change}, and events of version {old.version} are in the log: raise __version__, and upcast them"
    if old.is_sent and not new.is_sent:
        yield "it is no longer sent to webhooks"
    if old.published_by and not new.published_by:
        yield "no code that publishes names it any more"
    if old.is_taken_in and not new.is_taken_in:
        yield "it no longer comes in from the brokers"


def _of_handler(old: HandlerEntry, new: HandlerEntry | None) -> Iterator[str]:
    if new is None:
        yield " is gone: its place in the log is lost, and what is parked for it is handled by nobody"
    elif new.event != old.event:
        yield f": it is on {new.event}, and was on {old.event}, of which it leaves what it had not come to"
    elif new.on_failure == "skip" and old.on_failure != "skip":
        yield ": it skips what it cannot handle, and kept the order of a key"


def _of_job(old: JobEntry, new: JobEntry, before: Schemas, after: Schemas) -> Iterator[str]:
    """Those that wait were enqueued by the old release, and results are read by who knows the new one."""
    if new.queue != old.queue:
        yield f"its queue is {new.queue}, and was {old.queue}: those that wait there are found by nobody"
    yield from Fit(before, after, takes_more=True).misfits(old.inputs, new.inputs, "what was enqueued")
    if old.output is None:
        return
    if new.output is None:
        yield "it no longer returns anything"
        return
    yield from Fit(after, before, is_output=True).misfits(new.output, old.output, "its result")
    if new.keep_result_s < old.keep_result_s:
        yield f"its result is kept for {new.keep_result_s:g} s, and was for {old.keep_result_s:g} s"
