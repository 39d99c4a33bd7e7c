"""The plan: what an operation is compiled to when the app starts.

Every transport calls the same `Plan.call`. A stage is put around the function only where the operation uses
it, in one fixed order, so nothing is decided again for a request and what is not used costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from toque.call.context import Context
from toque.call.resources import Pantry
from toque.call.threads import Threads
from toque.contract import views
from toque.contract.conversion import convert
from toque.contract.errors import BadRequest, Invalid
from toque.contract.idempotency import read_key
from toque.contract.operation import Kind, Operation
from toque.contract.signature import Place, Signature, struct_of

if TYPE_CHECKING:
    from toque.call.shedding import Shedding

__all__ = ["Arguments", "Handler", "Plan", "Stage", "StageName", "Stands", "compile_plan"]

Arguments = Sequence[Any]
"""The values of an operation's inputs, in the order of its signature."""

Handler = Callable[[Context, Arguments], Coroutine[Any, Any, Any]]

Stands = Callable[[], None]
"""Looks whether a caller who was let in would still be. Raises: Unauthenticated, Forbidden."""

StageName = str
ORDER: tuple[StageName, ...] = (
    "trace",
    "observe, admit",
    "authenticate",
    "receive for the rule",
    "authorise",
    "receive for the cache",
    "cache",
    "room",
    "receive",
    "watch",
    "transact",
    "deduplicate",
    "finish",
)
"""The policies, outermost first (docs/why/one-path.md). Inputs are received once the caller is known to be
allowed, and that there is room for them; only a rule that looks at them, or a memory that is asked by them, has them
received before it."""

RECEIVING = frozenset({"receive", "receive for the cache", "receive for the rule"})


class Stage(Struct, frozen=True):
    """One policy as one operation uses it."""

    name: StageName
    why: str
    """What put it there, for `toque explain`."""
    wrap: Callable[[Handler], Handler]


class Plan(Struct, frozen=True, eq=False):
    """An operation, ready to be called."""

    operation: Operation
    signature: Signature
    stages: tuple[Stage, ...]
    call: Handler
    shape: Callable[[Any], Any] | None
    """Makes what the function returned into its declared output alone; None where it cannot differ."""
    named: type[msgspec.Struct]
    """A struct with one field an input: how JSON-RPC, the command line and tests give the inputs by name."""
    deadline_s: float
    reads_credential: bool
    carries_mark: bool
    """Whether a transport brings the caller's mark along, and takes it back."""
    receives: bool
    """Whether inputs may come later, as `Pending`."""
    asks_for: frozenset[type]
    """The resources of its function, and of all that is made for it."""
    is_cached: bool = False
    """Whether it may be answered from memory."""
    standing: Callable[[Context, Arguments], Stands] | None = None
    """Of a call that was let in, how its caller is looked at again and again; None where nobody is kept out."""
    shedding: Shedding | None = None
    """Refuses at once whom the stages would refuse for want of room; transports may ask it before they call."""

    @property
    def is_signed(self) -> bool:
        """Whether a message may prove its sender itself: a transport hands it in whole, too."""
        return bool(self.operation.allow and self.operation.allow.webhooks)

    def arguments(self, values: Mapping[str, Any], *, strict: bool = True) -> Arguments:
        """The inputs from *values* by name, converted to their declared types.

        Args:
            strict: text stays text; else "4" may become 4, as on a command line.
        Raises: Invalid with the path of each field that does not fit.
        """
        if unknown := values.keys() - set(self.named.__struct_fields__):
            raise Invalid(
                f"{self.operation.name} has no input {sorted(unknown)[0]!r}; "
                f"it takes: {', '.join(self.named.__struct_fields__) or 'nothing'}"
            )
        return msgspec.structs.astuple(convert(values, self.named, strict=strict))

    def key(self, text: object) -> str | None:
        """The idempotency key that a caller sent as *text*; None for a query, which may be tried again without one.

        Raises: BadRequest where it is no key, or where the operation would not honour it.
        """
        if self.operation.kind is Kind.QUERY:
            return None
        if not self.operation.is_idempotent:
            raise BadRequest(
                f"{self.operation.name} keeps no answers, so a key would promise what it does not do; "
                "call it without one, or declare it with is_idempotent=True"
            )
        return read_key(text)


def compile_plan(
    operation: Operation,
    signature: Signature,
    stages: Sequence[Stage],
    pantry: Pantry,
    threads: Threads,
    *,
    shape: Callable[[Any], Any] | None,
    deadline_s: float,
    reads_credential: bool,
    carries_mark: bool = False,
    is_cached: bool = False,
    standing: Callable[[Context, Arguments], Stands] | None = None,
    shedding: Shedding | None = None,
) -> Plan:
    """Put *stages* around the function of *operation*, in the fixed order."""
    ordered = tuple(sorted(stages, key=lambda stage: ORDER.index(stage.name)))
    call = _innermost(operation, signature, pantry, threads)
    for stage in reversed(ordered):
        call = stage.wrap(call)
    return Plan(
        operation=operation,
        signature=signature,
        stages=ordered,
        call=call,
        shape=shape,
        named=_named_inputs(operation, signature),
        deadline_s=deadline_s,
        reads_credential=reads_credential,
        carries_mark=carries_mark,
        receives=any(stage.name in RECEIVING for stage in ordered),
        asks_for=pantry.closure(tp for _, tp in signature.resources),
        is_cached=is_cached,
        standing=standing,
        shedding=shedding,
    )


Run = Callable[[Context, Sequence[Any]], Coroutine[Any, Any, Any]]
"""Calls the function with all its parameters filled."""


def _innermost(operation: Operation, signature: Signature, pantry: Pantry, threads: Threads) -> Handler:
    function = _positional(operation.function, signature.keywords)
    run = _run_of(function, signature, threads)
    providers = [(position, pantry.provider(tp)) for position, tp in signature.resources]
    if not providers:
        return run
    at_hand = [(position, provide) for position, provide in providers if provide is not None]
    if len(at_hand) == len(providers):
        return _with_providers(run, at_hand)
    if signature.is_async:
        return _with_recipes(run, signature.resources, pantry)
    return _outlasted(_with_recipes(_run_to_its_end(function, threads), signature.resources, pantry), threads)


def _run_of(function: Callable[..., Any], signature: Signature, threads: Threads) -> Run:
    def run(context: Context, values: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        return function(*values)  # type: ignore[no-any-return]

    def run_in_thread(context: Context, values: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        return threads.run(function, *values)

    shape = views.shaper(signature.output) if signature.is_stream else None

    async def drain(context: Context, values: Sequence[Any]) -> None:
        sink = context.sink
        assert sink is not None, "a transport that calls a streamed operation gives the context a sink"
        items = function(*values)
        try:
            async for item in items:
                await sink(item if shape is None else shape(item))
        finally:
            await items.aclose()

    if signature.is_stream:
        return drain
    return run if signature.is_async else run_in_thread


def _run_to_its_end(function: Callable[..., Any], threads: Threads) -> Run:
    return lambda context, values: threads.run_to_its_end(function, *values)


def _outlasted(call: Handler, threads: Threads) -> Handler:
    """*call* of a function in a thread, which uses its resources until it has ended, though nobody waits any more."""
    return lambda context, arguments: threads.outlasted(call(context, arguments))


def _with_providers(run: Run, providers: Sequence[tuple[int, Callable[[Context], Any]]]) -> Handler:
    """Resources that every context has at hand. Positions ascend: inserting keeps those before in place."""

    def invoke(context: Context, arguments: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        values = list(arguments)
        for position, provide in providers:
            values.insert(position, provide(context))
        return run(context, values)

    return invoke


def _with_recipes(run: Run, resources: Sequence[tuple[int, type]], pantry: Pantry) -> Handler:
    """Resources that recipes make, some of them for this call only."""

    async def invoke(context: Context, arguments: Sequence[Any]) -> Any:
        values = list(arguments)
        made: dict[type, Any] = {}
        async with AsyncExitStack() as ends:
            for position, tp in resources:
                values.insert(position, await pantry.make(tp, context, ends, made))
            return await run(context, values)

    return invoke


def _positional(function: Callable[..., Any], keywords: tuple[str, ...]) -> Callable[..., Any]:
    """*function* with its keyword-only parameters taken by position, after the others."""
    if not keywords:
        return function

    def call(*values: Any) -> Any:
        named = dict(zip(keywords, values[-len(keywords) :], strict=True))
        return function(*values[: -len(keywords)], **named)

    return call


def _named_inputs(operation: Operation, signature: Signature) -> type[msgspec.Struct]:
    inputs = [found for found in signature.inputs if found.place is not Place.UPLOAD]
    return struct_of("Inputs", inputs, operation.function.__module__)
