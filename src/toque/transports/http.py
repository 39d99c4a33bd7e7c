"""One operation over HTTP: negotiate, read, call the plan, answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any
from urllib.parse import quote

from toque.call.admission import CallerLeft
from toque.call.context import Context
from toque.call.plan import Plan
from toque.call.receive import Pending
from toque.codecs.stream import StreamEncoder
from toque.contract.errors import BadRequest, Error, Internal
from toque.contract.manifest import success_status
from toque.contract.signature import path_names
from toque.transports.arguments import PlainReader
from toque.transports.bodies import BodyReader
from toque.transports.replies import Headers, Offers, compressed, send_problem

__all__ = ["TIMEOUT_HEADER", "HttpOperation", "shortened"]

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
        self._status = success_status(plan.operation, plan.signature)
        self._location = _location_of(plan.operation.location)

    async def answer(self, scope: Any, proto: Any, segments: tuple[str, ...]) -> None:
        header = scope.headers.get
        traceparent = header("traceparent")
        context = Context(
            self._name,
            monotonic() + self._deadline_s,
            traceparent,
            header("authorization") if self._reads_credential else None,
            proto.client_disconnect,
        )
        try:
            if (timeout := header(TIMEOUT_HEADER)) is not None:
                context.deadline = shortened(context.deadline, timeout)
            offer = self._offers.choose(header("accept"))
            arguments: Any = self._read_plain(scope, segments)
            if self._read_body is not None:
                arguments = _pending(self._read_body, scope, proto, arguments)
            if offer.stream is not None:
                await self._stream(context, proto, _Sending(proto, self._status, offer.headers, offer.stream), arguments)
                return
            value = await self._call(context, arguments)
            if self._shape is not None:
                value = self._shape(value)
            body = offer.encode(value)
            headers = offer.headers
            if self._location is not None:
                headers = [*headers, ("location", self._location(value))]
        except Error as error:
            send_problem(scope, proto, error, context.trace.trace_id, _trace_headers(context))
            return
        except CallerLeft:
            return
        except Exception:
            log.exception("%s failed", self._name)
            send_problem(scope, proto, Internal(), context.trace.trace_id, _trace_headers(context))
            return
        if traceparent is not None:
            headers = [*headers, ("traceparent", context.trace.traceparent())]
        if len(body) >= self._compress_from:
            headers, body = compressed(scope, headers, body)
        if body or self._status != 204:
            proto.response_bytes(self._status, headers, body)
        else:
            proto.response_empty(self._status, headers)

    async def _stream(self, context: Context, proto: Any, sending: _Sending, arguments: Any) -> None:
        """Send each item as the function yields it; the function waits while the client is slower than it.

        The head leaves with the first item, so that what fails before is still a problem document. What fails later
        ends the answer without its tail: in JSON nobody can take it for a whole one.
        """
        context.sink = sending.send
        try:
            await self._call(context, arguments)
        except Exception:
            if not sending.has_begun:
                raise
            log.exception("%s failed after it had begun to answer", self._name)
            return
        await sending.end()


class _Sending:
    """An answer on its way, item by item."""

    __slots__ = ("_before", "_encoder", "_headers", "_proto", "_status", "_transport")

    def __init__(self, proto: Any, status: int, headers: Headers, encoder: StreamEncoder) -> None:
        self._proto = proto
        self._status = status
        self._headers = headers
        self._encoder = encoder
        self._before = encoder.head
        self._transport: Any = None

    @property
    def has_begun(self) -> bool:
        return self._transport is not None

    async def send(self, item: Any) -> None:
        data = self._before + self._encoder.item(item)
        if self._transport is None:
            self._transport = self._proto.response_stream(self._status, self._headers)
        self._before = self._encoder.separator
        await self._transport.send_bytes(data)

    async def end(self) -> None:
        """Send the tail; an answer without items is its head and its tail."""
        if self._transport is not None:
            await self._transport.send_bytes(self._encoder.tail)
        else:
            self._proto.response_bytes(self._status, self._headers, self._encoder.head + self._encoder.tail)


def _pending(read: BodyReader, scope: Any, proto: Any, values: list[Any]) -> Pending:
    def rest() -> Coroutine[Any, Any, list[Any]]:
        return read(scope, proto, values)

    return Pending(rest)


def shortened(deadline: float, timeout_ms: str) -> float:
    """*deadline*, or the earlier one that the caller asks for. Raises: BadRequest."""
    if not timeout_ms.isascii() or not timeout_ms.isdigit() or len(timeout_ms) > 9:
        raise BadRequest(f"{TIMEOUT_HEADER} is a number of milliseconds, received {timeout_ms[:20]!r}")
    return min(deadline, monotonic() + int(timeout_ms) / 1000)


def _trace_headers(context: Context) -> Headers:
    return [] if context.traceparent is None else [("traceparent", context.trace.traceparent())]


def _location_of(template: str | None) -> Callable[[Any], str] | None:
    """`/orders/{id}` filled from the answer's own fields."""
    if template is None:
        return None
    names = path_names(template)

    def location(value: Any) -> str:
        fields = {name: value[name] if isinstance(value, dict) else getattr(value, name) for name in names}
        return template.format_map({name: quote(str(field), safe="") for name, field in fields.items()})

    return location


