"""One operation over HTTP: negotiate, read, call the plan, answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any
from urllib.parse import quote

from toque.cache.kept import KeptAnswer
from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.call.plan import Plan
from toque.call.receive import Pending
from toque.call.shedding import Shedding
from toque.contract.errors import BadRequest, Error, Internal, Overloaded, PreconditionFailed
from toque.contract.operation import PRIORITIES, Kind, Priority
from toque.contract.signature import path_names, success_status
from toque.contract.text import text_of
from toque.transports.arguments import PlainReader
from toque.transports.bodies import BodyLimits, LateReader, skip_rest
from toque.transports.conditions import precondition
from toque.transports.events import Events
from toque.transports.kept_forms import HIT, Form, form_of, freshness_of, is_known
from toque.transports.marks import mark_headers, mark_of
from toque.transports.repeats import Repeated
from toque.transports.replies import LIVE, Headers, Offer, Offers, answered, compressed, send_overloaded, send_problem
from toque.transports.router import Endpoint, root_path_of
from toque.transports.sealed import Held
from toque.transports.sending import Sending

__all__ = ["KEY_HEADER", "PRIORITY_HEADER", "TIMEOUT_HEADER", "HttpOperation", "lowered", "shortened"]

log = logging.getLogger("toque.http")

_Header = Callable[[str], str | None]
"""Looks a request's header up."""

TIMEOUT_HEADER = "x-timeout-ms"
"""How a caller shortens a call's deadline, in milliseconds; never lengthens it."""

PRIORITY_HEADER = "x-priority"
"""How a caller makes a call less important than its operation is; never more. Not `Priority` (RFC 9218): browsers send
that one by themselves, and mean the order of answers on one connection."""


KEY_HEADER = "idempotency-key"
"""Under which name a caller tries a command again (draft-ietf-httpapi-idempotency-key-header-07)."""

REPLAYED = ("idempotency-replayed", "true")
"""Says that an answer is that of an earlier request; the draft leaves the word open, Stripe has one like it."""


class HttpOperation:
    """Answers the requests for one operation."""

    __slots__ = (
        "_call",
        "_carries_mark",
        "_compress_from",
        "_deadline_s",
        "_events",
        "_is_cached",
        "_is_command",
        "_leaves_mark",
        "_location",
        "_name",
        "_offers",
        "_read_late",
        "_read_plain",
        "_reads_credential",
        "_repeated",
        "_shape",
        "_shedding",
        "_signed_limits",
        "_status",
        "plan",
    )

    def __init__(
        self,
        plan: Plan,
        offers: Offers,
        read_plain: PlainReader,
        read_late: LateReader,
        compress_from: int,
        *,
        limits: BodyLimits,
        events: Events | None = None,
        repeated: Repeated | None = None,
    ) -> None:
        self.plan = plan
        self._repeated = repeated
        self._events = events
        self._call = plan.call
        self._name = plan.operation.name
        self._shape = plan.shape
        self._deadline_s = plan.deadline_s
        self._shedding = plan.shedding
        self._reads_credential = plan.reads_credential
        self._carries_mark = plan.carries_mark
        self._leaves_mark = plan.carries_mark and plan.operation.kind is Kind.COMMAND
        self._offers = offers
        self._read_plain = read_plain if plan.signature.inputs else None
        self._read_late = read_late if plan.receives else None
        self._is_command = plan.operation.kind is Kind.COMMAND
        self._is_cached = plan.is_cached
        self._compress_from = compress_from
        self._signed_limits = limits if plan.is_signed else None
        self._status = success_status(plan.operation, plan.signature)
        self._location = _location_of(plan.operation.location)

    @property
    def endpoint(self) -> Endpoint:
        """What answers the requests: with one value, or item by item."""
        if self.plan.signature.is_stream:
            return self.answer_stream
        return self.answer if self._repeated is None else self.answer_again

    def answer_again(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> Awaitable[None]:
        """Answer a request that came before from memory, any other like `answer`."""
        assert self._repeated is not None, "only who knows requests is asked so"
        form = self._repeated.answer(scope, asked)
        if form is None:
            return self.answer(scope, asked, proto, segments)
        if is_known(asked, form):
            proto.response_empty(304, form.brief)
        else:
            proto.response_bytes(self._status, form.headers, form.body)
        return answered()

    async def answer(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        """Answer a request with the whole answer of the operation."""
        header = asked.get
        if self._shedding is not None and self._shedding.is_crowded and self._shed(self._shedding, header, proto):
            return
        context = self._context(header, proto)
        try:
            offer, arguments = self._begin(scope, asked, proto, segments, context)
            if offer is LIVE:
                assert self._events is not None, "only who has events offers them"
                await self._events.answer(scope, proto, context, arguments)
                return
            value = await self._call(context, arguments)
            if type(value) is KeptAnswer:
                form = self._answer_kept(asked, proto, context, offer, value)
                if self._repeated is not None and context.cache_status == HIT[1]:
                    self._repeated.learn(scope, asked, context, value, form.name)
                return
            if self._shape is not None:
                value = self._shape(value)
            body = offer.encode(value)
            headers = offer.headers
            if self._location is not None:
                headers = [*headers, ("location", self._location(scope, value))]
        except Exception as error:
            if self._read_late is not None:
                await skip_rest(scope, asked, proto, error)
            self._fail(scope, proto, context, error)
            return
        if context.is_replayed:
            headers = [*headers, REPLAYED]
        if context.traceparent is not None:
            headers = [*headers, ("traceparent", context.trace.traceparent())]
        if context.cache_status:
            headers = [*headers, ("cache-status", context.cache_status)]
        if self._leaves_mark and context.mark is not None and context.mark.is_new:
            headers = [*headers, *mark_headers(context.mark, scope.scheme)]
        if len(body) >= self._compress_from:
            headers, body = compressed(scope, headers, body)
        if body or self._status != 204:
            proto.response_bytes(self._status, headers, body)
        else:
            proto.response_empty(self._status, headers)

    def _answer_kept(self, asked: Any, proto: Any, context: Context, offer: Offer, kept: KeptAnswer) -> Form:
        form = form_of(kept, offer, asked, self._compress_from)
        if asked.get("if-match") is not None and precondition(asked, form.etag) == 412:
            raise PreconditionFailed("the answer is another version by now")
        headers, is_known_there = form.headers, is_known(asked, form)
        if is_known_there:
            headers = form.brief
        if context.cache_status != HIT[1]:
            headers = [*headers[:-1], ("cache-status", context.cache_status)]
        if context.traceparent is not None:
            headers = [*headers, ("traceparent", context.trace.traceparent())]
        if is_known_there:
            proto.response_empty(304, headers)
        else:
            proto.response_bytes(self._status, headers, form.body)
        return form

    async def answer_stream(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        """Answer a request item by item, as the function yields them.

        The head leaves with the first item, so that what fails before is still a problem document. What fails later
        ends the answer without its tail: in JSON nobody can take it for a whole one.
        """
        header = asked.get
        if self._shedding is not None and self._shedding.is_crowded and self._shed(self._shedding, header, proto):
            return
        context = self._context(header, proto)
        sending = Sending(scope, proto, self._status)
        context.left = sending.left
        try:
            offer, arguments = self._begin(scope, asked, proto, segments, context)
            context.sink = sending.through(offer)
            await self._call(context, arguments)
            await sending.end()
        except Exception as error:
            if not sending.has_begun:
                self._fail(scope, proto, context, error)
            elif not isinstance(error, CallerLeft):
                log.exception("%s failed after it had begun to answer", self._name)
        finally:
            sending.close()

    def _shed(self, shedding: Shedding, header: _Header, proto: Any) -> bool:
        """Whether the request was refused at once. Who has a trace or names a priority hears it from the call."""
        if header("traceparent") is not None or header(PRIORITY_HEADER) is not None:
            return False
        refusal = shedding.refusal(header("authorization") if shedding.reads_credential else None)
        if refusal is not None:
            send_overloaded(header("accept"), proto, refusal)
        return refusal is not None

    def _context(self, header: _Header, proto: Any) -> Context:
        began = monotonic()
        context = Context(
            self._name,
            began + self._deadline_s,
            header("traceparent"),
            header("authorization") if self._reads_credential else None,
            proto.client_disconnect,
            began,
        )
        if self._carries_mark:
            context.mark = mark_of(header)
        if self._is_cached:
            context.freshness = freshness_of(header("cache-control"))
        return context

    def _begin(
        self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...], context: Context
    ) -> tuple[Offer, Any]:
        """The format of the answer, and the inputs as far as they are here. Raises: what is wrong with either."""
        header = asked.get
        if (timeout := header(TIMEOUT_HEADER)) is not None:
            context.deadline = shortened(context.deadline, timeout)
        if self._is_command:
            if KEY_HEADER in asked:
                # granian has no text for a value that is not ASCII; the header is there all the same.
                context.idempotency_key = self.plan.key(header(KEY_HEADER))
            if "if-match" in asked or "if-none-match" in asked:
                # Who sends one relies on it, against a lost update say (RFC 9110, 13.1.1): it cannot be passed over.
                raise PreconditionFailed(
                    "a command has no versions to compare; send none of If-Match and If-None-Match, "
                    "and the version as an input where the command takes one"
                )
        if (wanted := header(PRIORITY_HEADER)) is not None:
            context.priority = lowered(wanted)
        accept = header("accept")
        offer = self._offers.by_accept.get(accept) or self._offers.choose(asked.get_all("accept"))
        if self._is_cached:
            # A page is rendered for each of its readers.
            context.takes_kept = not offer.media_type.startswith("text/html")
        if self._read_late is not None:
            if self._signed_limits is not None:
                held = Held(context, scope, asked, proto, self._signed_limits)
                return offer, Pending(partial(self._read_late, context, scope, asked, held, segments), held.message)
            return offer, Pending(partial(self._read_late, context, scope, asked, proto, segments))
        return offer, () if self._read_plain is None else self._read_plain(scope, segments)

    def _fail(self, scope: Any, proto: Any, context: Context, error: Exception) -> None:
        if isinstance(error, CallerLeft):
            return
        if type(error) is Overloaded and context.traceparent is None and not error.extra:
            send_overloaded(scope.headers.get("accept"), proto, error)
            return
        if not isinstance(error, Error):
            log.error("%s failed", self._name, exc_info=error, extra={"call": context})
            error = Internal()
        trace: Headers = [] if context.traceparent is None else [("traceparent", context.trace.traceparent())]
        send_problem(scope, proto, error, context.trace.trace_id, trace)


def shortened(deadline: float, timeout_ms: str) -> float:
    """*deadline*, or the earlier one that the caller asks for. Raises: BadRequest."""
    # None at all is refused: some mean by it that no time is left, others (Envoy) that there is no limit.
    if not timeout_ms.isascii() or not timeout_ms.isdigit() or len(timeout_ms) > 9 or not int(timeout_ms):
        raise BadRequest(f"{TIMEOUT_HEADER} is a number of milliseconds from 1 on, received {timeout_ms[:20]!r}")
    return min(deadline, monotonic() + int(timeout_ms) / 1000)


def lowered(priority: str) -> Priority:
    """The most that a call may be whose caller asks for *priority*. Raises: BadRequest."""
    if priority not in PRIORITIES:
        raise BadRequest(f"{PRIORITY_HEADER} is one of {', '.join(PRIORITIES)}, received {priority[:20]!r}")
    return PRIORITIES[priority]


def _location_of(template: str | None) -> Callable[[Any, Any], str] | None:
    """`/orders/{id}` filled from the answer's own fields, below where the app is mounted."""
    if template is None:
        return None
    names = path_names(template)
    is_path = template.startswith("/")

    def location(scope: Any, value: Any) -> str:
        fields = {name: value[name] if isinstance(value, dict) else getattr(value, name) for name in names}
        found = template.format_map({name: quote(text_of(field), safe="") for name, field in fields.items()})
        return quote(root_path_of(scope)) + found if is_path else found

    return location
