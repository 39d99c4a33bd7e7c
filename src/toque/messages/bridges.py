"""What joins an app's log to its brokers: a relay out, and a way in, for each."""

from __future__ import annotations

from collections.abc import Sequence

from toque.contract.complaints import Complaint
from toque.contract.manifest_messages import BrokerEntry
from toque.messages.brokers import Broker, open_broker
from toque.messages.cloudevents import prefix_of
from toque.messages.inflow import Inflow
from toque.messages.messages import Messages
from toque.messages.relay import Relay, binding_of

__all__ = ["build_bridges", "described", "problems"]


def problems(urls: Sequence[str]) -> list[Complaint]:
    """What is wrong with the brokers' addresses, or is not installed."""
    wrong = []
    for url in urls:
        try:
            open_broker(url)
        except (ValueError, ModuleNotFoundError) as error:
            wrong.append(Complaint("messages.brokers", str(error), "check TOQUE_MESSAGES_BROKERS"))
    return wrong


def described(urls: Sequence[str]) -> list[BrokerEntry]:
    """The brokers at *urls*, without what is secret in them."""
    return [_described(open_broker(url)) for url in urls]


def _described(broker: Broker) -> BrokerEntry:
    protocol, _, host = broker.name.partition("://")
    return BrokerEntry(
        protocol=protocol,
        host=host,
        prefix=getattr(broker, "prefix", ""),
        headers=prefix_of(binding_of(broker.name)),
    )


def build_bridges(messages: Messages, urls: Sequence[str], topics: Sequence[str], app_name: str) -> None:
    """Have *messages* publish every event to each broker, and take *topics* in from each."""
    source = f"urn:toque:{app_name}"
    for url in urls:
        relay = Relay(messages.store, messages.reader, messages.tail, open_broker(url), source=source)
        messages.services.append(relay)
        messages.counting.append(relay.counts)
        if topics:
            # A broker of its own: each closes what it uses.
            broker, group = open_broker(url), app_name
            messages.services.append(
                Inflow(messages.store, messages.tail, broker, topics=topics, group=group, source=source)
            )
