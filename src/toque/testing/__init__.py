"""For an app's own tests: the app in memory, and real servers that end with the test."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toque.testing.access import access_matrix
    from toque.testing.blocking import Client, client
    from toque.testing.brokers import broker_suite
    from toque.testing.harness import Harness, running
    from toque.testing.memory import Answer
    from toque.testing.statements import counted

__all__ = ["Answer", "Client", "Harness", "access_matrix", "broker_suite", "client", "counted", "running"]

_HOMES = {
    "Answer": "memory",
    "Client": "blocking",
    "Harness": "harness",
    "access_matrix": "access",
    "broker_suite": "brokers",
    "client": "blocking",
    "counted": "statements",
    "running": "harness",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'toque.testing' has no attribute {name!r}; known: {', '.join(__all__)}")
    return getattr(import_module(f"toque.testing.{_HOMES[name]}"), name)
