"""Private message brokers for tests: real servers in temporary folders, on free ports, gone at the end."""

from __future__ import annotations

from importlib import import_module

from toque.testing.servers.server import Server

__all__ = ["NAMES", "Server", "private_broker"]

_CLASSES = {
    "nats": "NatsServer",
    "rabbitmq": "RabbitServer",
    "kafka": "KafkaServer",
    "redis": "RedisServer",
    "mqtt": "MosquittoServer",
}
NAMES = tuple(_CLASSES)


def private_broker(name: str) -> Server:
    """A server of the kind *name*, one of `NAMES`, not started yet.

    Raises: FileNotFoundError where its program is not installed; the message says what to install.
    """
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}; got {name!r}.")
    server: Server = getattr(import_module(f"toque.testing.servers.{name}"), _CLASSES[name])()
    return server
