"""Who is calling, as far as it was proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["ANONYMOUS", "Principal", "WebhookSender"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The proven caller of an operation: a person, a service, or nobody (`ANONYMOUS`)."""

    subject: str = ""
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    tenant: str = ""
    claims: Mapping[str, Any] = {}

    @property
    def is_authenticated(self) -> bool:
        return self.subject != ""

    @property
    def share(self) -> str:
        """Whose turn it uses where callers take turns: the tenant's, or his own where there are no tenants."""
        return self.tenant or self.subject


class WebhookSender(Principal, frozen=True, kw_only=True):
    """Who signed a message with a key of a webhook. A type of its own, so that no token can claim to be one."""

    webhook: str

    @classmethod
    def of(cls, webhook: str) -> WebhookSender:
        """The sender of the webhook that the settings call *webhook*."""
        return cls(subject=f"webhook:{webhook}", webhook=webhook)


ANONYMOUS = Principal()
"""The principal of a call that proved nothing."""
