"""One table of error codes, and one exception that carries a code.

The table is the only place that says how a code looks on a transport: its HTTP status, its JSON-RPC number, its
gRPC name, and whether trying again can help. A transport looks the code up; it decides nothing.

Sources: RFC 9110 section 15 (HTTP status), RFC 9457 (problem documents), JSON-RPC 2.0 section 5.1, and the gRPC
status code list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

__all__ = [
    "CODES",
    "Code",
    "Conflict",
    "DeadlineExceeded",
    "Error",
    "Fault",
    "Forbidden",
    "InProgress",
    "Invalid",
    "KeyReused",
    "LeftBehind",
    "Malformed",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "Problem",
    "Unauthenticated",
]


class Code(msgspec.Struct, frozen=True):
    """How one kind of failure looks on every transport."""

    name: str
    http: int
    rpc: int
    grpc: str
    title: str
    is_retryable: bool = False


_TABLE: dict[str, Code] = {
    code.name: code
    for code in (
        Code("malformed", 400, -32700, "INVALID_ARGUMENT", "The bytes are not what the format says"),
        Code("bad_request", 400, -32600, "INVALID_ARGUMENT", "The request breaks its protocol"),
        Code("unauthenticated", 401, -32001, "UNAUTHENTICATED", "Nobody has been proven to be calling"),
        Code("forbidden", 403, -32003, "PERMISSION_DENIED", "The caller may not do this"),
        Code("not_found", 404, -32004, "NOT_FOUND", "There is no such thing"),
        Code("unknown_operation", 404, -32601, "UNIMPLEMENTED", "There is no such operation"),
        Code("method_not_allowed", 405, -32601, "UNIMPLEMENTED", "The resource does not take this method"),
        Code("not_acceptable", 406, -32006, "INVALID_ARGUMENT", "No format that the caller accepts is offered"),
        Code("request_timeout", 408, -32008, "DEADLINE_EXCEEDED", "The request took too long to arrive", True),
        Code("left_behind", 408, -32061, "ABORTED", "The client was too slow to take what it follows", True),
        Code("conflict", 409, -32009, "FAILED_PRECONDITION", "The present state does not allow this"),
        Code("in_progress", 409, -32058, "ABORTED", "The same call is under way", True),
        Code("gone", 410, -32010, "NOT_FOUND", "This existed and does no longer"),
        Code("precondition_failed", 412, -32012, "FAILED_PRECONDITION", "A condition of the request does not hold"),
        Code("too_large", 413, -32013, "RESOURCE_EXHAUSTED", "The request is larger than the limit"),
        Code("unsupported_media_type", 415, -32015, "INVALID_ARGUMENT", "The body's format is not taken here"),
        Code("range_not_satisfiable", 416, -32016, "OUT_OF_RANGE", "The range lies outside the content"),
        Code("misdirected", 421, -32021, "UNAVAILABLE", "This app does not answer for that host"),
        Code("invalid", 422, -32602, "INVALID_ARGUMENT", "The input does not have the declared shape"),
        Code("address_refused", 422, -32060, "INVALID_ARGUMENT", "The app sends no requests to that address"),
        Code("key_reused", 422, -32057, "INVALID_ARGUMENT", "The idempotency key belongs to another call"),
        Code("rate_limited", 429, -32029, "RESOURCE_EXHAUSTED", "Too many calls", True),
        Code("internal", 500, -32603, "INTERNAL", "The app failed"),
        Code("unimplemented", 501, -32050, "UNIMPLEMENTED", "This is not offered"),
        Code("bad_answer", 502, -32059, "UNAVAILABLE", "Something that the app needs answered what it cannot use"),
        Code("overloaded", 503, -32053, "UNAVAILABLE", "The app has as much work as it can do", True),
        Code("unavailable", 503, -32054, "UNAVAILABLE", "Something that the app needs does not answer", True),
        Code("outcome_unknown", 503, -32056, "UNKNOWN", "Whether the change was made is not known"),
        Code("deadline_exceeded", 504, -32055, "DEADLINE_EXCEEDED", "The deadline passed before the answer", True),
    )
}

CODES: Mapping[str, Code] = MappingProxyType(_TABLE)
"""Every code by its name: Toque's own, and those that an app's errors add."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with the input: where, what was expected and what came."""

    path: str
    """The field, from the root of its place: `$.items[0].quantity` in a body, `$.status` in a query string."""
    message: str
    place: str = "body"
    expected: str = ""
    received: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457) with Toque's members: `code`, `trace_id`, `faults`."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    trace_id: str = ""
    faults: tuple[Fault, ...] = ()
    extra: dict[str, Any] = {}


class Error(Exception):
    """A failure that the caller may hear about.

    Subclass it to declare an app's own failure: the code joins the table and every transport knows it.

        class SoldOut(Error, code="sold_out", http=409, title="The dish is sold out"): ...

    Args:
        detail: one sentence for the caller: what was expected, what came, what to do. No secrets, no SQL.
        faults: what is wrong with which field.
        retry_after_s: seconds after which trying again is worth it; becomes `Retry-After`.
        extra: further members of the problem document, JSON values only.
    """

    code: ClassVar[str] = "internal"

    def __init_subclass__(
        cls, *, code: str = "", http: int = 0, title: str = "", is_retryable: bool = False, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if not code:
            return
        cls.code = code
        if code not in _TABLE:
            _TABLE[code] = _declared(cls, code, http, title, is_retryable)
        elif http and http != _TABLE[code].http:
            raise TypeError(
                f"{cls.__name__} declares code {code!r} with HTTP status {http}, "
                f"but {code!r} is known with {_TABLE[code].http}; choose another code."
            )

    def __init__(
        self,
        detail: str = "",
        *,
        faults: Sequence[Fault] = (),
        retry_after_s: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after_s = retry_after_s
        self.extra = extra

    def problem(self, trace_id: str = "") -> Problem:
        """This failure as a document that every transport can send."""
        code = CODES[self.code]
        retry = {} if self.retry_after_s is None else {"retry_after_s": self.retry_after_s}
        return Problem(
            type=f"urn:toque:error:{code.name}",
            title=code.title,
            status=code.http,
            code=code.name,
            detail=_writable(self.detail),
            trace_id=trace_id,
            faults=self.faults,
            extra={**retry, **self.extra},
        )


def _writable(text: str) -> str:
    """*text* without halves of surrogates, as file names may hold them: no format can write one."""
    return text.encode(errors="replace").decode() if isinstance(text, str) and not text.isascii() else text


# A new code's gRPC name and JSON-RPC number follow from its HTTP status, so that declaring one takes one line.
_GRPC_BY_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "FAILED_PRECONDITION",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _declared(cls: type[Error], code: str, http: int, title: str, is_retryable: bool) -> Code:
    if not 400 <= http <= 599:
        raise TypeError(f"{cls.__name__} declares the new code {code!r}: give it http=4xx or 5xx, got {http}.")
    # JSON-RPC 2.0, section 5.1: -32000 to -32099 are the server's own.
    rpc = -32000 - http % 100
    return Code(code, http, rpc, _GRPC_BY_HTTP.get(http, "UNKNOWN"), title or code.replace("_", " "), is_retryable)


class Malformed(Error, code="malformed"):
    """The bytes are not what their format says."""


class BadRequest(Error, code="bad_request"):
    """The request breaks a rule of its protocol."""


class Invalid(Error, code="invalid"):
    """The input is well formed but does not have the declared shape; `faults` say where."""


class Unauthenticated(Error, code="unauthenticated"):
    """The operation needs a principal and nobody was proven."""


class Forbidden(Error, code="forbidden"):
    """The principal is known and may not do this."""


class LeftBehind(Error, code="left_behind"):
    """A client did not take the states that it follows in time; it may follow anew."""


class NotFound(Error, code="not_found"):
    """There is no such thing, or the caller may not know of it."""


class UnknownOperation(Error, code="unknown_operation"):
    """No operation has this name or path."""


class MethodNotAllowed(Error, code="method_not_allowed"):
    """The path exists, the method does not."""


class NotAcceptable(Error, code="not_acceptable"):
    """None of the formats offered is accepted."""


class RequestTimeout(Error, code="request_timeout"):
    """The request's bytes came too slowly."""


class Conflict(Error, code="conflict"):
    """The present state of the data does not allow this."""


class InProgress(Error, code="in_progress"):
    """A call with the same idempotency key is under way; try again after `retry_after_s`."""


class KeyReused(Error, code="key_reused"):
    """The idempotency key was used for a call with other inputs."""


class Gone(Error, code="gone"):
    """This existed and does no longer."""


class PreconditionFailed(Error, code="precondition_failed"):
    """A condition of the request does not hold."""


class TooLarge(Error, code="too_large"):
    """The request is larger than the limit."""


class UnsupportedMediaType(Error, code="unsupported_media_type"):
    """The body's format, or its content coding, is not taken here."""


class RangeNotSatisfiable(Error, code="range_not_satisfiable"):
    """The range lies outside the content."""


class Misdirected(Error, code="misdirected"):
    """The request names a host that this app does not answer for."""


class RateLimited(Error, code="rate_limited"):
    """Too many calls; try again after `retry_after_s`."""


class Internal(Error, code="internal"):
    """The app failed; what happened is in its log, under the same trace id."""


class Unimplemented(Error, code="unimplemented"):
    """This is not offered."""


class Overloaded(Error, code="overloaded"):
    """The app has as much work as it can do; try again after `retry_after_s`."""


class Unavailable(Error, code="unavailable"):
    """Something that the app needs does not answer."""


class OutcomeUnknown(Unavailable, code="outcome_unknown"):
    """The database was lost in the middle of a commit, and cannot say whether the change was made."""


class DeadlineExceeded(Error, code="deadline_exceeded"):
    """The deadline passed before the answer was ready."""
