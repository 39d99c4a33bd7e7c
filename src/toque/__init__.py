"""Toque: write a typed operation once; it is served over every protocol and in every format.

The public names, and nothing else. Each is loaded at its first use, so an app pays only for what it mentions: one
without models never imports SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msgspec import Meta, Struct

    from toque.app import App
    from toque.call.context import Context
    from toque.call.delivery import Delivery
    from toque.codecs.file import File
    from toque.contract.access import Access, authenticated, predicate, public, role, scope, webhook
    from toque.contract.errors import (
        Conflict,
        Error,
        Fault,
        Forbidden,
        Invalid,
        NotFound,
        Overloaded,
        PreconditionFailed,
        Unauthenticated,
        Unavailable,
    )
    from toque.contract.event import Event
    from toque.contract.job import Again, GiveUp, Retries
    from toque.contract.module import Module
    from toque.contract.operation import Header, InBody, InQuery
    from toque.contract.principal import Principal, WebhookSender
    from toque.http_client.client import HttpClient
    from toque.messages.jobs.jobs import Jobs
    from toque.messages.jobs.progress import Progress
    from toque.messages.jobs.status import JobStatus
    from toque.messages.jobs.steps import Steps
    from toque.messages.outbox import Outbox
    from toque.messages.webhooks.deliveries import EndpointDisabled
    from toque.messages.webhooks.webhooks import Webhooks
    from toque.security.development import DevelopmentTokens
    from toque.settings import Settings
    from toque.store.database import AllRows, Database
    from toque.store.facts import Me
    from toque.store.models import Model
    from toque.store.rows import Rows
    from toque.store.sql import Sql

__version__ = "0.1.0"

_HOMES = {
    "toque.app": ("App",),
    "toque.call.context": ("Context",),
    "toque.call.delivery": ("Delivery",),
    "toque.codecs.multipart": ("File",),
    "toque.contract.access": ("Access", "authenticated", "predicate", "public", "role", "scope", "webhook"),
    "toque.contract.errors": (
        "Conflict",
        "EndpointDisabled",
        "Error",
        "Fault",
        "Forbidden",
        "Invalid",
        "NotFound",
        "Overloaded",
        "PreconditionFailed",
        "Unauthenticated",
        "Unavailable",
    ),
    "toque.contract.event": ("Event",),
    "toque.contract.job": ("Again", "GiveUp", "Retries"),
    "toque.contract.module": ("Module",),
    "toque.contract.operation": ("Header", "InBody", "InQuery"),
    "toque.contract.principal": ("Principal", "WebhookSender"),
    "toque.messages.jobs.jobs": ("Jobs",),
    "toque.messages.jobs.progress": ("Progress",),
    "toque.messages.jobs.status": ("JobStatus",),
    "toque.messages.jobs.steps": ("Steps",),
    "toque.messages.outbox": ("Outbox",),
    "toque.messages.webhooks.deliveries": ("EndpointDisabled",),
    "toque.messages.webhooks.webhooks": ("Webhooks",),
    "toque.http_client.client": ("HttpClient",),
    "toque.security.development": ("DevelopmentTokens",),
    "toque.settings": ("Settings",),
    "toque.store.database": ("AllRows", "Database"),
    "toque.store.facts": ("Me",),
    "toque.store.models": ("Model",),
    "toque.store.rows": ("Rows",),
    "toque.store.sql": ("Sql",),
    "msgspec": ("Meta", "Struct"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Access",
    "Again",
    "AllRows",
    "App",
    "Conflict",
    "Context",
    "Database",
    "Delivery",
    "DevelopmentTokens",
    "EndpointDisabled",
    "Error",
    "Event",
    "Fault",
    "File",
    "Forbidden",
    "GiveUp",
    "Header",
    "HttpClient",
    "InBody",
    "InQuery",
    "Invalid",
    "JobStatus",
    "Jobs",
    "Me",
    "Meta",
    "Model",
    "Module",
    "NotFound",
    "Outbox",
    "Overloaded",
    "PreconditionFailed",
    "Principal",
    "Progress",
    "Retries",
    "Rows",
    "Settings",
    "Sql",
    "Steps",
    "Struct",
    "Unauthenticated",
    "Unavailable",
    "WebhookSender",
    "Webhooks",
    "authenticated",
    "predicate",
    "public",
    "role",
    "scope",
    "webhook",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'toque' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
