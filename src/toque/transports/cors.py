"""Which pages of other origins may read our answers (Fetch Standard, section 3.3). Closed unless listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from toque.transports.replies import Headers
from toque.transports.router import Route

__all__ = ["Cors"]

MAX_AGE_S = 600
"""How long a browser may remember a preflight: Safari's ceiling, the lowest of the large browsers."""

EXPOSED = "etag, location, retry-after, toque-mark, traceparent"
ALLOWED = frozenset(
    {
        "accept",
        "authorization",
        "cache-control",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "last-event-id",
        "toque-mark",
        "traceparent",
        "x-priority",
        "x-timeout-ms",
    }
)
"""Beside what the Fetch Standard exposes and allows by itself: all that means something to us."""


class Cors:
    """The answer's headers for an allowed origin, and nothing for any other.

    Args:
        inputs: the headers that operations take as inputs, in lower case.
    """

    def __init__(self, origins: Sequence[str], *, with_credentials: bool, inputs: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._with_credentials = with_credentials
        self._allowed_headers = ", ".join(sorted(ALLOWED.union(inputs)))

    def headers(self, origin: str | None) -> Headers:
        """What lets a page of *origin* read the answer; always `Vary`, so that no cache mixes origins up, nor gives a
        page what was asked for by somebody without one."""
        allowed = self._allowed(origin)
        if allowed is None:
            return [("vary", "origin")]
        headers = [
            ("access-control-allow-origin", allowed),
            ("access-control-expose-headers", EXPOSED),
            ("vary", "origin"),
        ]
        if self._with_credentials:
            headers.append(("access-control-allow-credentials", "true"))
        return headers

    def preflight(self, scope: Any, route: Route) -> Headers:
        """What a browser asks before it sends a request that a form could not send."""
        if self._allowed(scope.headers.get("origin") or "") is None:
            return []
        return [
            ("access-control-allow-methods", route.allow),
            ("access-control-allow-headers", self._allowed_headers),
            ("access-control-max-age", str(MAX_AGE_S)),
        ]

    def _allowed(self, origin: str | None) -> str | None:
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None
