"""On whose behalf a message works, and in which story: what it takes along from the call that sent it."""

from __future__ import annotations

from collections.abc import Mapping

from toque.call.context import Context
from toque.contract.principal import ANONYMOUS, Principal

__all__ = ["headers_of", "principal_of"]

TRACEPARENT, CAUSE = "traceparent", "cause"


def headers_of(context: Context) -> dict[str, str]:
    """What a message that *context*'s call sends says of it: the caller, the trace, and the message that caused it."""
    caller = context.caller
    headers = {}
    if caller is not ANONYMOUS:
        headers = {
            "subject": caller.subject,
            "tenant": caller.tenant,
            "roles": " ".join(sorted(caller.roles)),
            "scopes": " ".join(sorted(caller.scopes)),
        }
        headers = {name: value for name, value in headers.items() if value}
    if context.delivery is not None:
        headers[CAUSE] = context.delivery.id
    if context.traceparent is not None or context.known_trace is not None:
        headers[TRACEPARENT] = context.trace.traceparent()
    return headers


def principal_of(headers: Mapping[str, str]) -> Principal:
    """The caller on whose behalf a message works, as he was when it was sent."""
    return Principal(
        subject=headers.get("subject", ""),
        tenant=headers.get("tenant", ""),
        roles=frozenset(headers.get("roles", "").split()),
        scopes=frozenset(headers.get("scopes", "").split()),
    )
