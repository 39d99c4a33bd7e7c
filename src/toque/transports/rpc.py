"""JSON-RPC over HTTP: `POST /rpc`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from toque.call.context import Context
from toque.call.plan import Plan
from toque.call.tasks import awaited
from toque.call.trace import Trace
from toque.codecs.negotiation import parse_media_type
from toque.contract.errors import BadRequest, Error, UnsupportedMediaType
from toque.contract.operation import Priority
from toque.transports.bodies import BodyLimits, read_bytes_in_time, skip_rest
from toque.transports.http import KEY_HEADER, PRIORITY_HEADER, TIMEOUT_HEADER, lowered, shortened
from toque.transports.jsonrpc import KEY_MEMBER, JsonRpc
from toque.transports.marks import mark_headers, mark_of
from toque.transports.replies import DATA_HEADERS, Headers, compressed, send_problem
from toque.transports.router import Endpoint

__all__ = ["http_endpoint"]

_JSON = "application/json"


def http_endpoint(jsonrpc: JsonRpc, limits: BodyLimits, compress_from: int) -> Endpoint:
    """What answers `POST /rpc` with *jsonrpc*, which speaks JSON.

    A failed call is answered with 200: HTTP has done its part. Only what no call can be read from for HTTP's
    own reasons (its media type, its size, its time) is an HTTP error.
    """

    async def answer(scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        caller = _Caller(asked.get, proto)
        try:
            caller.read_wishes()
            _check_media_type(asked.get("content-type"))
            if KEY_HEADER in asked:
                raise BadRequest(f'a request may hold many calls: give each its own member "{KEY_MEMBER}"')
            body = await jsonrpc.answer(await read_bytes_in_time(scope, asked, proto, limits), caller.context)
        except Error as error:
            await skip_rest(scope, asked, proto, error)
            send_problem(scope, proto, error, caller.trace.trace_id, caller.trace_headers())
            return
        finally:
            caller.stop()
        if body is None:
            proto.response_empty(204, [*DATA_HEADERS, *caller.trace_headers(), *caller.mark_headers(scope.scheme)])
            return
        headers: Headers = [("content-type", _JSON), *DATA_HEADERS, ("cache-control", "no-store")]
        headers += [*caller.trace_headers(), *caller.mark_headers(scope.scheme)]
        if len(body) >= compress_from:
            headers, body = compressed(scope, headers, body)
        proto.response_bytes(200, headers, body)

    return answer


class _Caller:
    """What one request says about all the calls in it."""

    __slots__ = (
        "_began",
        "_credential",
        "_deadline",
        "_mark",
        "_priority",
        "_proto",
        "_timeout",
        "_traceparent",
        "_wanted_priority",
        "_watcher",
        "trace",
    )

    def __init__(self, header: Callable[[str], str | None], proto: Any) -> None:
        self._began = monotonic()
        self._deadline = inf
        self._timeout = header(TIMEOUT_HEADER)
        self._priority = Priority.CRITICAL
        self._wanted_priority = header(PRIORITY_HEADER)
        self._credential = header("authorization")
        self._traceparent = header("traceparent")
        self._mark = mark_of(header)
        self._proto = proto
        self._watcher: asyncio.Task[None] | None = None
        self.trace = Trace.incoming(self._traceparent)

    def read_wishes(self) -> None:
        """Learn when the caller wants all calls to be done, and how important they are. Raises: BadRequest."""
        if self._timeout is not None:
            self._deadline = shortened(inf, self._timeout)
        if self._wanted_priority is not None:
            self._priority = lowered(self._wanted_priority)

    def context(self, plan: Plan) -> Context:
        return Context(
            plan.operation.name,
            deadline=min(self._deadline, self._began + plan.deadline_s),
            # Every call is a span of its own; all belong to the caller's trace.
            traceparent=self._traceparent,
            credential=self._credential if plan.reads_credential else None,
            left=self._left,
            mark=self._mark if plan.carries_mark else None,
            priority=self._priority,
        )

    def mark_headers(self, scheme: str) -> Headers:
        return mark_headers(self._mark, scheme) if self._mark.is_new else []

    def trace_headers(self) -> Headers:
        return [] if self._traceparent is None else [("traceparent", self.trace.traceparent())]

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _left(self) -> None:
        """Wait until the caller has gone. One watcher serves all calls: granian wakes only one of several."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(awaited(self._proto.client_disconnect))
        await asyncio.shield(self._watcher)


def _check_media_type(content_type: str | None) -> None:
    """Raises: UnsupportedMediaType. JSON is also what no form of another site can send."""
    if content_type == _JSON:
        return
    if content_type is None or parse_media_type(content_type)[0] != _JSON:
        raise UnsupportedMediaType(f"expected Content-Type {_JSON}; received {(content_type or 'nothing')[:100]}")
