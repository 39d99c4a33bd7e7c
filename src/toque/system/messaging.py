"""What an app says of its messages: all that its modules declare, its settings add, and its code names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toque.call.plan import Plan
from toque.contract.event import Event
from toque.contract.manifest_messages import BrokerEntry, Messaging, Offer
from toque.contract.module import Module
from toque.messages.jobs.steps import Steps
from toque.messages.outbox import Outbox
from toque.store.insight.measures import Measure, Measuring
from toque.system.naming import events_named, named_by_steps, roots_of
from toque.system.system import System

__all__ = ["message_measuring", "messaging_of"]


def messaging_of(system: System, modules: Sequence[Module]) -> Messaging:
    """The messages of *system*, which is made of *modules*, for its manifest."""
    if system.messages is None:
        return Messaging()
    published = set(_published(system))
    handled = (plan.operation.event for plan in system.handlers)
    known = (*(event for event, _ in published), *_awaited(system), *system.sent, *filter(None, handled))
    events = {event.type_name(): event for event in known}
    topics = frozenset(system.settings.messages.topics)
    return Messaging(
        events=list(events.values()),
        handlers=list(map(_offer, system.handlers)),
        jobs=list(map(_offer, system.jobs)),
        sent=frozenset(event.type_name() for event in system.sent),
        taken_in=topics & events.keys() if system.settings.messages.brokers else frozenset(),
        brokers=_brokers(system),
        queues=[limits for module in modules for limits in module.queues],
        published_by=tuple(sorted((event.type_name(), name) for event, name in published)),
    )


def message_measuring(system: System, url: str) -> Measuring:
    """How the messages of *system* are, as its database at *url* knows."""
    handled = {plan.operation.name: event.type_name() for plan in system.handlers if (event := plan.operation.event)}
    sent = [event.type_name() for event in system.sent]

    async def look() -> list[Measure]:
        from toque.messages.measures import measure

        return await measure(url, handled, sent)

    return Measuring(look, "messages")


def _published(system: System) -> Iterator[tuple[type[Event], str]]:
    """The events that code names which may publish, each with the operation whose code it is."""
    plans = (*system.plans.values(), *system.handlers, *system.jobs)
    # What is only enqueued, or called as a plain function, publishes under its own name.
    operations = frozenset(plan.operation.function for plan in plans)
    for plan in plans:
        function, *others = roots_of(plan, system.pantry)
        roots = [function] if Outbox in plan.asks_for else []
        if not roots and Steps in plan.asks_for:
            # A durable step asks for an outbox of its own.
            roots = named_by_steps(function)
        if roots:
            for event in events_named([*roots, *others], operations):
                yield event, plan.operation.name


def _awaited(system: System) -> Iterator[type[Event]]:
    """The events that jobs of durable steps may wait for."""
    for plan in system.jobs:
        if Steps in plan.asks_for:
            yield from events_named([plan.operation.function], [plan.operation.function for plan in system.jobs])


def _offer(plan: Plan) -> Offer:
    return Offer(plan.operation, plan.signature, plan.deadline_s)


def _brokers(system: System) -> list[BrokerEntry]:
    urls = [url.reveal() for url in system.settings.messages.brokers]
    if not urls:
        return []
    from toque.messages import bridges

    return bridges.described(urls)
