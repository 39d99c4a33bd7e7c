"""JSON-RPC 2.0: operations by name, over any transport that carries whole messages, in any format like JSON.

Source: the JSON-RPC 2.0 specification (jsonrpc.org/specification); the sections named below are its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import msgspec

from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.call.plan import Arguments, Plan
from toque.call.receive import given
from toque.codecs.json import can_carry
from toque.contract import schema
from toque.contract.errors import (
    CODES,
    BadRequest,
    Error,
    Internal,
    Invalid,
    Problem,
    TooLarge,
    Unimplemented,
    UnknownOperation,
)
from toque.contract.signature import Place

if TYPE_CHECKING:
    from toque.codecs.codec import Codec

__all__ = ["KEY_MEMBER", "ContextOf", "Failure", "JsonRpc", "Method", "OwnMethods", "unoffered"]

log = logging.getLogger("toque.jsonrpc")

CALLS_MAX = 100
"""Calls in one batch: what Google's APIs take in a batch request, so clients live with it already."""

AT_ONCE_MAX = 8
"""Calls of one batch that run at once: fewer than the database has connections unless told otherwise
(`database.pool_size`), so that one batch never takes them all."""

ITEMS_MAX = 10_000
"""Items of a streamed answer, which is one array here: Elasticsearch's `index.max_result_window`. Whoever
wants more asks page by page, or over HTTP, where a stream stays a stream."""

KEY_MEMBER = "idempotency_key"
"""The member of a call, beside its id, that names it when it is tried again. Headers belong to a whole batch, and a
WebSocket has none."""

ContextOf = Callable[[Plan], Context]
"""Makes the context of one call from what the transport knows about its caller."""

OwnMethods = Mapping[str, Callable[[Any], Any]]
"""Methods of the connection itself: take the params, answer with plain values, at once or when awaited; raise Error."""


class Failure(msgspec.Struct):
    """The error object (section 5.1); `data` is the problem document."""

    code: int
    message: str
    data: msgspec.Raw


class _Result(msgspec.Struct):
    id: Any
    result: msgspec.Raw
    jsonrpc: str = "2.0"


class _Refusal(msgspec.Struct):
    id: Any
    error: Failure
    jsonrpc: str = "2.0"


class _Notification(msgspec.Struct):
    method: str
    params: Any
    jsonrpc: str = "2.0"


class JsonRpc:
    """Answers JSON-RPC messages in the format of one codec."""

    def __init__(self, plans: Mapping[str, Plan], codec: Codec) -> None:
        self._plans = plans
        self._codec = codec
        self._methods: dict[str, Method] = {}
        """The operations that were called so far."""
        self._decode: Callable[[bytes], Any] = _needed(codec.decoder(Any))
        self._encode: Callable[[Any], bytes] = _needed(codec.encoder(Any))
        self._encode_problem: Callable[[Any], bytes] = _needed(codec.encoder(Problem))

    async def answer(self, payload: bytes, context_of: ContextOf, own: OwnMethods | None = None) -> bytes | None:
        """The answer to a call or a batch; None where nobody asked for one or waits for it any more."""
        try:
            message = self._decode(payload)
        except Error as error:
            return self.refusal(error)
        if isinstance(message, list):
            return await self._batch(message, context_of, own or {})
        answer = await self._one(message, context_of, own or {})
        return None if answer is None else self._encode(answer)

    def refusal(self, error: Error) -> bytes:
        """*error* as the answer to a message in which no call can be found (section 5: its id is null)."""
        return self._encode(_Refusal(None, self.failure(error)))

    def method(self, name: str) -> Method:
        """The operation called *name*, as a method. Raises: UnknownOperation, Unimplemented."""
        method = self._method(name)
        if method is None:
            raise UnknownOperation(f"no operation is called {name[:100]!r}")
        if method.unoffered:
            raise Unimplemented(method.unoffered)
        return method

    def notification(self, method: str, params: Any) -> bytes:
        """A message that nobody answers (section 4.1)."""
        return self._encode(_Notification(method, params))

    async def _batch(self, messages: list[Any], context_of: ContextOf, own: OwnMethods) -> bytes | None:
        if not messages:
            return self.refusal(BadRequest("a batch holds one call or more (section 6), received none"))
        if len(messages) > CALLS_MAX:
            return self.refusal(TooLarge(f"a batch holds {CALLS_MAX} calls at most, received {len(messages)}"))
        answers: list[_Result | _Refusal] = []
        waiting = iter(messages)

        async def work() -> None:
            for message in waiting:
                if (answer := await self._one(message, context_of, own)) is not None:
                    answers.append(answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE_MAX, len(messages))):
                group.create_task(work())
        return self._encode(answers) if answers else None

    async def _one(self, message: Any, context_of: ContextOf, own: OwnMethods) -> _Result | _Refusal | None:
        call_id = _id_of(message)
        try:
            name, params = _read_call(message)
        except BadRequest as error:
            # Whether it was meant as a notification cannot be known, so it is answered (section 5, `id`).
            return _Refusal(call_id, self.failure(error))
        outcome: msgspec.Raw | Failure | None
        if name in own:
            outcome = await self._act(own[name], params)
        else:
            outcome = await self._call(name, params, context_of, message.get(KEY_MEMBER))
        if outcome is None or "id" not in message:
            return None
        return _Refusal(call_id, outcome) if isinstance(outcome, Failure) else _Result(call_id, outcome)

    async def _call(self, name: str, params: Any, context_of: ContextOf, key: Any) -> msgspec.Raw | Failure | None:
        method = self._method(name)
        if method is None:
            return self.failure(UnknownOperation(f"no operation is called {name[:100]!r}"))
        context = context_of(method.plan)
        try:
            if key is not None:
                context.idempotency_key = method.plan.key(key)
            return msgspec.Raw(await method.call(context, params))
        except Error as error:
            return self.failure(error, context.trace.trace_id)
        except CallerLeft:
            return None
        except Exception:
            log.exception("%s failed", name)
            return self.failure(Internal(), context.trace.trace_id)

    def _method(self, name: str) -> Method | None:
        """The operation called *name*, compiled at its first call as over HTTP; None where there is none."""
        method = self._methods.get(name)
        if method is None and (plan := self._plans.get(name)) is not None:
            method = self._methods[name] = Method(plan, self._codec)
        return method

    async def _act(self, act: Callable[[Any], Any], params: Any) -> msgspec.Raw | Failure | None:
        try:
            found = act(params)
            return msgspec.Raw(self._encode(await found if isawaitable(found) else found))
        except Error as error:
            return self.failure(error)
        except CallerLeft:
            return None
        except Exception:
            log.exception("a method of the connection failed")
            return self.failure(Internal())

    def failure(self, error: Error, trace_id: str = "") -> Failure:
        """*error* as the error object."""
        problem = error.problem(trace_id)
        return Failure(
            code=CODES[error.code].rpc,
            message=problem.detail or problem.title,
            data=msgspec.Raw(self._encode_problem(problem)),
        )


class Method:
    """One operation as a method: what is decided about it once."""

    __slots__ = ("_names", "_shape", "encode", "plan", "unoffered")

    def __init__(self, plan: Plan, codec: Codec) -> None:
        signature = plan.signature
        tp: Any = signature.output
        if signature.is_stream:
            tp = list[tp]
        self.plan = plan
        self._names = tuple(found.name for found in signature.inputs)
        self.unoffered = unoffered(plan)
        if not self.unoffered:
            # The plan itself shapes the items of a stream.
            self._shape = plan.shape
            self.encode: Callable[[Any], bytes] = _needed(codec.encoder(Any if tp is None else tp))

    async def call(self, context: Context, params: Any) -> bytes:
        """The encoded result. Raises: what the plan raises."""
        if self.unoffered:
            raise Unimplemented(self.unoffered)
        arguments: Any = given(self.plan, lambda: self.arguments(params))
        value: Any
        if self.plan.signature.is_stream:
            value = await self._collected(context, arguments)
        else:
            value = await self.plan.call(context, arguments)
        if self.plan.signature.output is None:
            value = None
        elif self._shape is not None:
            value = self._shape(value)
        return self.encode(value)

    def arguments(self, params: Any) -> Arguments:
        """The inputs from *params*. Raises: Invalid."""
        if isinstance(params, list):
            if len(params) > len(self._names):
                raise Invalid(f"expected at most {len(self._names)} params by position; received {len(params)}")
            params = dict(zip(self._names, params, strict=False))
        elif not all(isinstance(name, str) for name in params):
            raise Invalid("the names of params are text")
        return self.plan.arguments(params)

    async def _collected(self, context: Context, arguments: Any) -> list[Any]:
        items: list[Any] = []

        async def collect(item: Any) -> None:
            if len(items) >= ITEMS_MAX:
                raise TooLarge(f"the answer has more than {ITEMS_MAX} items; over HTTP it is streamed")
            items.append(item)

        context.sink = collect
        await self.plan.call(context, arguments)
        return items


def unoffered(plan: Plan) -> str:
    """Why the operation cannot be called over JSON-RPC; empty where it can."""
    signature = plan.signature
    path = plan.operation.path
    where = f"; over HTTP it is offered at {plan.operation.method} {path}" if path else ""
    if any(found.place is Place.UPLOAD or not can_carry(found.type) for found in signature.inputs):
        return f"{plan.operation.name} takes a file, which no JSON-RPC message carries{where}"
    if schema.plain_type(signature.output) is bytes:
        return f"{plan.operation.name} answers bytes, which no JSON-RPC message carries{where}"
    return ""


def _id_of(message: Any) -> Any:
    """The id to answer under: as it came, null where there is none or it is none that may be (section 4)."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if _is_id(found) else None


def _is_id(found: Any) -> bool:
    return found is None or (isinstance(found, str | int | float) and not isinstance(found, bool))


def _read_call(message: Any) -> tuple[str, Any]:
    """The method and the params of a request object (section 4). Raises: BadRequest."""
    if not isinstance(message, dict):
        raise BadRequest("a call is an object (section 4)")
    if message.get("jsonrpc") != "2.0":
        raise BadRequest('expected "jsonrpc" to be "2.0" (section 4)')
    name, params = message.get("method"), message.get("params", {})
    if not isinstance(name, str):
        raise BadRequest('expected "method" to be the name of an operation (section 4)')
    if not isinstance(params, dict | list):
        raise BadRequest('expected "params" to be an object or an array (section 4.2)')
    if not _is_id(message.get("id")):
        raise BadRequest('expected "id" to be a string, a number or null (section 4)')
    return name, params


def _needed(way: Any) -> Any:
    """A codec of JSON-RPC carries every declared type."""
    if way is None:
        raise TypeError("JSON-RPC needs a codec that carries every type: json or msgpack")
    return way
