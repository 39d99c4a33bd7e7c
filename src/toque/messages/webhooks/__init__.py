"""Webhooks by Standard Webhooks 1.0: signed events out to others' endpoints, and others' events in."""

from toque.messages.webhooks.endpoints import Endpoint
from toque.messages.webhooks.webhooks import NewEndpoint

__all__ = ["Endpoint", "NewEndpoint"]
