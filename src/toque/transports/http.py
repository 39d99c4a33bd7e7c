"""One operation over HTTP: negotiate, read, call the plan, answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any
from urllib.parse import quote

from toque.call.context import Context
from toque.call.deadline import CallerLeft
from toque.call.plan import Plan
from toque.call.trace import Trace
from toque.contract.errors import BadRequest, Error, Internal
from toque.contract.signature import path_names
from toque.transports.arguments import Pending, PlainReader
from toque.transports.bodies import BodyReader
from toque.transports.replies import Headers, Offer, Offers, compressed, send_problem

__all__ = ["HttpOperation"]

log = logging.getLogger("toque.http")

TIMEOUT_HEADER = "x-timeout-ms"
"""How a caller shortens a call's deadline, in milliseconds; never lengthens it."""


class HttpOperation:
    """Answers the requests for one operation."""

    __slots__ = (
        "_call",
        "_compress_from",
        "_deadline_s",
        "_location",
        "_name",
        "_offers",
        "_read_body",
        "_read_plain",
        "_reads_credential",
        "_shape",
        "_status",
        "plan",
    )

    def __init__(
        self, plan: Plan, offers: Offers, read_plain: PlainReader, read_body: BodyReader | None, compress_from: int
    ) -> None:
        self.plan = plan
        self._call = plan.call
        self._name = plan.operation.name
        self._shape = plan.shape
        self._deadline_s = plan.deadline_s
        self._reads_credential = plan.reads_credential
        self._offers = offers
        self._read_plain = read_plain
        self._read_body = read_body
        self._compress_from = compress_from
        self._status = plan.operation.status
        self._location = _location_of(plan.operation.location)

    async def answer(self, scope: Any, proto: Any, segments: tuple[str, ...]) -> None:
        header = scope.headers.get
        traceparent = header("traceparent")
        context = Context(
            self._name,
            deadline=monotonic() + self._deadline_s,
            trace=Trace.incoming(traceparent),
            credential=header("authorization") if self._reads_credential else None,
            left=proto.client_disconnect,
        )
        try:
            if (timeout := header(TIMEOUT_HEADER)) is not None:
                context.deadline = _shortened(context.deadline, timeout)
            offer = self._offers.choose(header("accept"))
            arguments: Any = self._read_plain(scope, segments)
            if self._read_body is not None:
                arguments = _pending(self._read_body, scope, proto, arguments)
            if offer.encode_item is not None:
                await self._stream(context, proto, offer, arguments)
                return
            value = await self._call(context, arguments)
            if self._shape is not None:
                value = self._shape(value)
            body = offer.encode(value)
            headers = offer.headers
            if self._location is not None:
                headers = [*headers, ("location", self._location(value))]
        except Error as error:
            send_problem(scope, proto, error, context.trace.trace_id, _trace_headers(context, traceparent))
            return
        except CallerLeft:
            return
        except Exception:
            log.exception("%s failed", self._name)
            send_problem(scope, proto, Internal(), context.trace.trace_id, _trace_headers(context, traceparent))
            return
        if traceparent is not None:
            headers = [*headers, ("traceparent", context.trace.traceparent())]
        if len(body) >= self._compress_from:
            headers, body = compressed(scope, headers, body)
        if body or self._status != 204:
            proto.response_bytes(self._status, headers, body)
        else:
            proto.response_empty(self._status, headers)

    async def _stream(self, context: Context, proto: Any, offer: Offer, arguments: Any) -> None:
        """Send each item as the function yields it; the function waits while the client is slower than it.

        The head leaves with the first item, so that what fails before is still a problem document. What fails later
        ends the connection without the last chunk: no client can take it for a whole answer.
        """
        sending = _Sending(proto, self._status, offer)
        context.sink = sending.send
        try:
            await self._call(context, arguments)
        except Exception:
            if not sending.has_begun:
                raise
            log.exception("%s failed after it had begun to answer", self._name)
            sending.abort()
            return
        await sending.end()


class _Sending:
    """An answer on its way, item by item."""

    __slots__ = ("_offer", "_proto", "_status", "_transport", "has_begun")

    def __init__(self, proto: Any, status: int, offer: Offer) -> None:
        self._proto = proto
        self._status = status
        self._offer = offer
        self._transport: Any = None
        self.has_begun = False

    def _begin(self) -> Any:
        self.has_begun = True
        self._transport = self._proto.response_stream(self._status, self._offer.headers)
        return self._transport

    async def send(self, item: Any) -> None:
        encode = self._offer.encode_item
        assert encode is not None, "only an offer that streams is sent item by item"
        await (self._transport or self._begin()).send_bytes(encode(item))

    async def end(self) -> None:
        if not self.has_begun:
            self._begin()

    def abort(self) -> None:
        self._transport = None


def _pending(read: BodyReader, scope: Any, proto: Any, values: list[Any]) -> Pending:
    def rest() -> Coroutine[Any, Any, list[Any]]:
        return read(scope, proto, values)

    return Pending(rest)


def _shortened(deadline: float, timeout_ms: str) -> float:
    if not timeout_ms.isascii() or not timeout_ms.isdigit() or len(timeout_ms) > 9:
        raise BadRequest(f"{TIMEOUT_HEADER} is a number of milliseconds, received {timeout_ms[:20]!r}")
    return min(deadline, monotonic() + int(timeout_ms) / 1000)


def _trace_headers(context: Context, traceparent: str | None) -> Headers:
    return [] if traceparent is None else [("traceparent", context.trace.traceparent())]


def _location_of(template: str | None) -> Callable[[Any], str] | None:
    """`/orders/{id}` filled from the answer's own fields."""
    if template is None:
        return None
    names = path_names(template)

    def location(value: Any) -> str:
        fields = {name: value[name] if isinstance(value, dict) else getattr(value, name) for name in names}
        return template.format_map({name: quote(str(field), safe="") for name, field in fields.items()})

    return location


