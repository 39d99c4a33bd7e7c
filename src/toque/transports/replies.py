"""What goes back over HTTP: header tables made once, problem documents, and compressed bodies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from toque.call.trace import Trace
from toque.codecs import compression
from toque.codecs.codec import CODECS, StreamEncoder
from toque.codecs.negotiation import choose, choose_coding
from toque.contract.errors import CODES, Error, NotAcceptable, Overloaded

__all__ = [
    "DATA_HEADERS",
    "EVENTS",
    "LIVE",
    "PAGE_HEADERS",
    "Headers",
    "Offer",
    "Offers",
    "answered",
    "coding_of",
    "compressed",
    "refuse",
    "send_overloaded",
    "send_problem",
]

Headers = list[tuple[str, str]]

_ALWAYS: Headers = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
]
DATA_HEADERS: Headers = [*_ALWAYS, ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")]
"""On every answer that is data: no browser may run, frame or sniff it (OWASP REST security cheat sheet)."""

PAGE_HEADERS: Headers = [
    *_ALWAYS,
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
]
"""On every page: scripts, styles and calls from our own origin only, none of them inline."""

CLOSING = frozenset({"request_timeout", "too_large"})
"""After these the rest of the request may still be on its way: the connection is not used again (RFC 9110, 15.5.14)."""


class Offer(Struct, frozen=True):
    """One format of an answer: its headers, and how a value becomes its bytes."""

    media_type: str
    headers: Headers
    encode: Callable[[Any], bytes]
    stream: StreamEncoder | None = None
    """How items are sent one by one, where the answer is a stream of them."""
    is_lasting: bool = True
    """Whether a value has the same bytes each time."""


EVENTS = "text/event-stream"

LIVE = Offer(
    EVENTS, [("content-type", EVENTS), ("cache-control", "no-store"), ("x-accel-buffering", "no"), *DATA_HEADERS], bytes
)
"""In the place of a format: the answer now, and again whenever it changes. nginx would hold events back otherwise."""


class Offers:
    """The formats that an operation answers in; the first is for those who do not care.

    Args:
        why_not_live: why its answer cannot be followed; None where it can.
    """

    __slots__ = ("_all", "_answers_nothing", "_choices", "_why_not_live", "by_accept", "media_types")

    # Accept is the client's to choose, so what is remembered of it is bounded: browsers and libraries send few.
    REMEMBERED_MAX = 256

    def __init__(
        self, offers: Sequence[Offer], *, answers_nothing: bool = False, why_not_live: str | None = ""
    ) -> None:
        self._all = (*offers, LIVE) if why_not_live is None else tuple(offers)
        self._choices = tuple(offer.media_type for offer in self._all)
        self._answers_nothing = answers_nothing
        self._why_not_live = why_not_live
        self.media_types = tuple(offer.media_type for offer in offers)
        self.by_accept: dict[str | None, Offer] = {None: self._all[0], "*/*": self._all[0]}
        """What was chosen for an Accept before."""

    def choose(self, lines: Sequence[str]) -> Offer:
        """The offer that the *lines* of Accept prefer. Raises: NotAcceptable when they take none."""
        accept = lines[0] if lines else ""
        return self.by_accept.get(accept) or self._negotiate(accept, lines)

    def _negotiate(self, accept: str, lines: Sequence[str]) -> Offer:
        at = 0 if self._answers_nothing else choose(accept, self._choices)
        if at is None and len(lines) > 1:
            # Several lines are one list (RFC 9110, 5.3). They are rare and reading them costs, so that the first is
            # enough where it will do.
            accept = ", ".join(lines)
            at = choose(accept, self._choices)
        if at is None:
            why = f"; it is not live: {self._why_not_live}" if self._why_not_live and EVENTS in accept else ""
            raise NotAcceptable(f"expected Accept to take one of {', '.join(self._choices)}{why}")
        if len(self.by_accept) < self.REMEMBERED_MAX:
            self.by_accept[accept] = self._all[at]
        return self._all[at]


_PROBLEM_CODECS = tuple(codec for codec in CODECS.values() if codec.problem_media_type)
_PROBLEM_MEDIA_TYPES = tuple(codec.media_types[0] for codec in _PROBLEM_CODECS)


async def answered() -> None:
    """Nothing is left to do: what an endpoint returns that has answered at once."""


def refuse(scope: Any, proto: Any, error: Error, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Answer with *error*, where no call has begun: under the trace that the caller hands on, or a new one."""
    send_problem(scope, proto, error, Trace.incoming(scope.headers.get("traceparent")).trace_id, headers)


def send_problem(scope: Any, proto: Any, error: Error, trace_id: str, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Answer with *error* as a problem document, in the format that the caller prefers (RFC 9457)."""
    reply, body = _problem(error, scope.headers.get("accept"), trace_id)
    reply += headers
    if error.code in CLOSING and scope.http_version.startswith("1"):
        reply.append(("connection", "close"))
    proto.response_bytes(CODES[error.code].http, reply, body)


def _problem(error: Error, accept: str | None, trace_id: str) -> tuple[Headers, bytes]:
    problem = error.problem(trace_id)
    codec = _PROBLEM_CODECS[choose(accept or "", _PROBLEM_MEDIA_TYPES) or 0]
    content_type = ("content-type", codec.problem_media_type)
    reply: Headers = [content_type, ("cache-control", "no-store"), *DATA_HEADERS]
    if error.retry_after_s is not None:
        reply.append(("retry-after", str(math.ceil(error.retry_after_s))))
    if problem.status == 401:
        reply.append(("www-authenticate", "Bearer"))
    encode = codec.encoder(type(problem))
    assert encode is not None, "a codec with a problem media type encodes problems"
    return reply, encode(problem)


# Accept is the client's to choose, so what is remembered is bounded; of the rest there are a few dozen at most.
OVERLOADED_REMEMBERED_MAX = 256
_overloaded: dict[tuple[str | None, str, float | None], tuple[Headers, bytes]] = {}


def send_overloaded(accept: str | None, proto: Any, error: Overloaded) -> None:
    """Answer with *error* as `send_problem` does, but without a trace id, so that all who come in one second get the
    same bytes: whoever has too much to do cannot afford to say so to each in new words."""
    key = accept, error.detail, error.retry_after_s
    reply = _overloaded.get(key)
    if reply is None:
        reply = _problem(error, accept, "")
        if len(_overloaded) >= OVERLOADED_REMEMBERED_MAX:
            _overloaded.clear()
        _overloaded[key] = reply
    proto.response_bytes(503, *reply)


def compressed(scope: Any, headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    """*body* in the content coding that the caller prefers, with the headers that say so."""
    headers, coding = coding_of(scope, headers)
    return headers, body if coding is None else compression.compress(body, coding)


def coding_of(scope: Any, headers: Headers) -> tuple[Headers, str | None]:
    """*headers*, with those that name the content coding that the caller prefers (RFC 9110, 12.5.3), and the coding."""
    coding = choose_coding(scope.headers.get("accept-encoding") or "", compression.AVAILABLE)
    headers = [*headers, ("vary", "accept-encoding")]
    return (headers, None) if coding is None else ([*headers, ("content-encoding", coding)], coding)
