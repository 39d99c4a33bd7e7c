"""One request as it is sent, and the one that a redirect makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toque.http_client.target import Query, Target

if TYPE_CHECKING:
    from toque.http_client.wire import Answer

__all__ = ["HOP_S", "Request", "redirected"]

HOP_S = 0.005
"""What a request takes to arrive: the other side has that much less time."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What may be done twice as well as once (RFC 9110, 9.2.2)."""

_OURS = {
    "host": "the URL says it",
    "content-length": "it is counted",
    "transfer-encoding": "bodies are sent with their length",
    "connection": "connections are kept by the client",
    "upgrade": "HTTP/1.1 is spoken to the end",
    "traceparent": "it is the call's own",
    "x-timeout-ms": "it is the call's own",
}
"""Headers that a request has by itself, and why."""

_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""What is meant for one host, and goes to no other (RFC 9110, 15.4)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, but for the headers that every request has."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def read(cls, method: str, url: str, query: Query | None, headers: Mapping[str, str], body: bytes) -> Request:
        """Raises: ValueError for a URL that is none, and for a header that is not the author's to set."""
        lower = {name.lower(): value for name, value in headers.items()}
        for name in lower.keys() & _OURS.keys():
            raise ValueError(f"the header {name!r} cannot be set: {_OURS[name]}; leave it out")
        return cls(method.upper(), Target.read(url, query), lower, body)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be carried out twice."""
        return self.method in _REPEATABLE or "idempotency-key" in self.headers


def redirected(request: Request, answer: Answer) -> Request | None:
    """The request that *answer* asks for instead; None where it asks for none that is sent.

    Its address is checked like every other. From https to http nobody is led: what was sealed stays so.
    """
    location = answer.headers.get("location")
    if location is None or answer.status not in (301, 302, 303, 307, 308):
        return None
    try:
        target = request.target.joined(location)
    except ValueError:
        return None
    if (request.target.scheme, target.scheme) == ("https", "http"):
        return None
    headers = request.headers
    if target.origin != request.target.origin:
        headers = {name: value for name, value in headers.items() if name not in _SECRETS}
    # RFC 9110, 15.4.2 to 15.4.4: 303 asks for a GET, and so do the two others in practice where it was a POST.
    if answer.status == 303 or (answer.status in (301, 302) and request.method == "POST"):
        headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        return Request("HEAD" if request.method == "HEAD" else "GET", target, headers, b"")
    return replace(request, target=target, headers=headers)
