"""What an app does because of messages: consumers, jobs, schedules and webhooks, where it has any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from toque.call.counts import counted
from toque.call.plan import Plan
from toque.contract.access import Access
from toque.contract.complaints import Complaint
from toque.contract.operation import Operation
from toque.settings import Settings

if TYPE_CHECKING:
    from toque.http_client.outgoing import Outgoing
    from toque.log.probe import Probe
    from toque.log.tail import Tail
    from toque.messages.inbox import Inbox
    from toque.messages.jobs.book import Book
    from toque.messages.messages import Messages
    from toque.messages.outbox import Bell
    from toque.messages.webhooks.incoming import Keyring
    from toque.store.store import Store

__all__ = ["keyring_of", "messages_of", "probes_of", "problems_with", "send_webhooks"]


def probes_of(handlers: Sequence[object], jobs: Sequence[object]) -> Iterator[Probe]:
    """What the tail of an app with messages asks for at each look."""
    from toque.log.probe import EVENTS

    yield EVENTS
    if handlers:
        from toque.messages.consumers import PARKED

        yield PARKED
    if jobs:
        from toque.messages.jobs.table import JOBS

        yield JOBS


def messages_of(
    name: str,
    store: Store,
    bell: Bell,
    tail: Tail,
    settings: Settings,
    *,
    inbox: Inbox | None,
    handlers: Sequence[Plan],
    book: Book,
) -> Messages:
    """The messages of the app *name* in this process; *bell* is rung by its outboxes."""
    from toque.messages.messages import Messages
    from toque.messages.rotation import Rotation

    messages = Messages(store, bell, tail, is_working=settings.messages.work)
    if inbox is not None:
        from toque.messages.consumers import Consumers

        consumers = Consumers(
            store,
            messages.reader,
            messages.tail,
            inbox=inbox,
            plans=handlers,
            at_once=settings.messages.at_once,
            drain_s=settings.messages.drain_s,
            alone=messages.alone,
        )
        messages.consumers = consumers
        messages.counting.append(consumers.counts)
        messages.preparations.append(consumers.prepare)
        messages.services.append(consumers)
        messages.drains.append(consumers.drain)
    messages.services.append(Rotation(store, messages.tail, settings.messages.keep_days))
    if book.by_name:
        from toque.messages.jobs.strangers import warn_of_strangers
        from toque.messages.jobs.worker import Worker

        slots, drain_s = settings.messages.jobs_max, settings.messages.drain_s
        worker = Worker(store, messages.tail, book, slots=slots, drain_s=drain_s, alone=messages.alone)
        messages.services.append(worker)
        messages.drains.append(worker.drain)
        messages.preparations.append(partial(warn_of_strangers, store, book.names))
        messages.counting.append(lambda: counted("jobs_ended", ("queue", "outcome"), worker.counts))
        if any(job.has_steps for job in book.by_name.values()):
            from toque.messages.jobs.matching import Matching

            messages.services.append(Matching(store, messages.reader, messages.tail, worker.returned))
    if book.schedules:
        from toque.messages.jobs.schedules import Schedules

        schedules = Schedules(store, messages.tail, book)
        messages.services.append(schedules)
        messages.drains.append(schedules.stop)
    if settings.messages.brokers:
        from toque.messages import bridges

        urls = [url.reveal() for url in settings.messages.brokers]
        bridges.build_bridges(messages, urls, settings.messages.topics, name)
    return messages


def send_webhooks(messages: Messages, settings: Settings, outgoing: Outgoing, sent: frozenset[str]) -> None:
    """Have each event of the types *sent* go to the endpoints that want it."""
    from toque.messages.webhooks.deliveries import Deliveries
    from toque.messages.webhooks.dispatcher import Dispatcher
    from toque.messages.webhooks.fan_out import FanOut

    webhooks = settings.webhooks
    deliveries = Deliveries(messages.store, timeout_s=webhooks.timeout_s, disable_after_s=webhooks.disable_after_s)
    fan_out = FanOut(messages.store, messages.reader, sent)
    messages.preparations.append(fan_out.begin)
    dispatcher = Dispatcher(fan_out, deliveries, messages.tail, outgoing, webhooks)
    messages.services.append(dispatcher)
    messages.counting.append(dispatcher.counts)


def keyring_of(settings: Settings, operations: Sequence[Operation], wrong: list[Complaint]) -> Keyring | None:
    """The keys of the webhooks that *operations* take; None where there are none."""
    taken = {one.name: one.allow.webhooks for one in operations if isinstance(one.allow, Access) and one.allow.webhooks}
    if not taken and not settings.webhooks.keys:
        return None
    from toque.messages.webhooks.incoming import Keyring

    keyring = Keyring(settings.webhooks)
    wrong += keyring.problems(taken)
    return keyring


def problems_with(settings: Settings) -> Iterator[Complaint]:
    """What keeps an app from following its log, or from reaching its brokers."""
    if settings.database.pooler != "none" and not settings.database.direct_url:
        problem = "a pooler in transaction mode has no sessions, and an app with events or jobs needs one"
        yield Complaint("database.direct_url", problem, "set TOQUE_DATABASE_DIRECT_URL to the database itself")
    if settings.messages.brokers:
        from toque.messages import bridges

        yield from bridges.problems([url.reveal() for url in settings.messages.brokers])
