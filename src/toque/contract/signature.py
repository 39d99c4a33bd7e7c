"""A function's signature, read once: which parameters are inputs, from where, and which are resources."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from toque.contract import schema
from toque.contract.complaints import Complaint, SetupError
from toque.contract.nodes import holds_carried, unfillable, unserialisable
from toque.contract.operation import Header, InBody, InQuery, Kind, Operation
from toque.contract.text import text_reader

__all__ = [
    "Input",
    "Place",
    "Signature",
    "SignatureError",
    "path_names",
    "read_annotations",
    "read_signature",
    "struct_of",
    "success_status",
]

MISSING = inspect.Parameter.empty
_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)


class Place(StrEnum):
    """Where HTTP finds an input. Every other transport finds it by name."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"
    """The whole body."""
    MEMBER = "member"
    """One member of the body, which is an object."""
    UPLOAD = "upload"
    """The body's bytes as they come, never held as a whole."""


class Input(Struct, frozen=True):
    """One parameter that the caller fills."""

    name: str
    type: Any
    place: Place
    wire_name: str
    default: Any = MISSING

    @property
    def is_required(self) -> bool:
        return self.default is MISSING


class Signature(Struct, frozen=True):
    """What a function takes and gives, sorted by who provides it."""

    inputs: tuple[Input, ...]
    resources: tuple[tuple[int, type], ...]
    """The position among all parameters, and the type asked for; positions ascend."""
    keywords: tuple[str, ...]
    """The names of trailing keyword-only parameters."""
    output: Any
    is_async: bool
    is_stream: bool
    """The output is a stream of items of type `output`."""

    def places(self, *places: Place) -> tuple[Input, ...]:
        return tuple(found for found in self.inputs if found.place in places)


def struct_of(name: str, inputs: Iterable[Input], module: str) -> type[msgspec.Struct]:
    """A Struct with one field an input, so that all are converted at once."""
    fields: list[Any] = [
        (found.name, found.type) if found.is_required else (found.name, found.type, found.default) for found in inputs
    ]
    # One that can be is made of values in their order, which takes a tenth of the time.
    is_in_order = fields == sorted(fields, key=len)
    return msgspec.defstruct(name, fields, kw_only=not is_in_order, module=module)


class SignatureError(TypeError):
    """One thing that keeps a function from being offered, and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


def read_signature(operation: Operation, resource_types: frozenset[type]) -> Signature:
    """Sort the parameters of *operation* into inputs and resources.

    Raises: SetupError with all that has no type, or one that nothing can provide or carry.
    """
    function, wrong = operation.function, _Wrong()
    inputs: list[Input] = []
    resources: list[tuple[int, type]] = []
    output, is_stream = None, False
    parameters = list(inspect.signature(function).parameters.values())
    with wrong.noted():
        hints = read_annotations(function, operation.namespace)
        for position, parameter in enumerate(parameters):
            with wrong.noted():
                tp = _type_of(parameter, hints)
                if isinstance(tp, type) and tp in resource_types:
                    resources.append((position, tp))
                else:
                    inputs.append(_read_input(operation, parameter, tp, resource_types))
        with wrong.noted():
            _check_path(operation.path, [parameter.name for parameter in parameters])
        with wrong.noted():
            output, is_stream = _read_output(function, hints, resource_types)
        inputs = _with_bodies(inputs)
    if wrong.errors:
        found = [(error.problem, error.remedy) for error in wrong.errors]
        raise SetupError([Complaint(operation.name, *one, operation.where) for one in found])
    return Signature(
        inputs=tuple(inputs),
        resources=tuple(resources),
        keywords=tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
        output=output,
        is_async=_is(function, inspect.iscoroutinefunction) or _is(function, inspect.isasyncgenfunction),
        is_stream=is_stream,
    )


class _Wrong:
    """Gathers what is wrong, so that a reader hears of everything at once."""

    def __init__(self) -> None:
        self.errors: list[SignatureError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        try:
            yield
        except SignatureError as error:
            self.errors.append(error)


def read_annotations(function: Callable[..., Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The types of a function's parameters and of its `return`, with what `Annotated` adds."""
    try:
        return typing.get_type_hints(function, localns=dict(namespace) or None, include_extras=True)
    except NameError as error:
        raise SignatureError(
            f"the type {error.name!r} cannot be found", "import it at run time, not only for type checking"
        ) from error


def path_names(path: str | None) -> list[str]:
    """The names in a path template: `/orders/{id}` has `id`."""
    return re.findall(r"\{([^{}]*)\}", path or "")


def _type_of(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise SignatureError(f"{parameter} cannot be filled", "name each input")
    if parameter.name not in hints:
        raise SignatureError(f"parameter {parameter.name!r} has no type", "annotate it")
    return hints[parameter.name]


def _read_input(operation: Operation, parameter: inspect.Parameter, tp: Any, resource_types: frozenset[type]) -> Input:
    name = parameter.name
    marks = [mark for mark in getattr(tp, "__metadata__", ()) if isinstance(mark, Header | InQuery | InBody)]
    place, wire_name = _place_of(operation, tp, marks, name in path_names(operation.path)), name
    if marks and isinstance(marks[0], Header):
        wire_name = marks[0].name.lower()
    found = Input(name, tp, place, wire_name, parameter.default)
    why = None if place is Place.UPLOAD else unserialisable(tp, is_stored=operation.job is not None)
    if why is None and operation.kind in (Kind.QUERY, Kind.COMMAND) and place is not Place.UPLOAD:
        why = unfillable(tp)
    if why is not None:
        problem, _, remedy = why.partition("; ")
        near = get_close_matches(_name_of(tp), sorted(map(_name_of, resource_types)), 1)
        # A class with fields, or no class at all, is meant to be an input.
        can_be_made = isinstance(tp, type) and not schema.is_object(tp)
        hint = f"did you mean the resource {near[0]}?" if near else "offer it with @app.resource()" * can_be_made
        raise SignatureError(
            f"parameter {name!r} can be neither an input nor a resource: {problem}",
            ", or ".join(filter(None, (hint, remedy))),
        )
    if operation.path is not None and place in (Place.PATH, Place.QUERY, Place.HEADER):
        _check_text(found)
    _check_default(found)
    return found


def _check_default(found: Input) -> None:
    """Raises: SignatureError for a default that one call could change for all that come after it."""
    if found.is_required:
        return
    try:
        struct_of("Probe", [found], __name__)
    except TypeError:
        raise SignatureError(
            f"parameter {found.name!r} has a default that can be changed, and all calls would share it",
            "give it an empty one, a tuple or a frozen Struct, or None and fill it in",
        ) from None


def _check_text(found: Input) -> None:
    """Raises: SignatureError where no text of a URL or a header can stand for the input."""
    if found.place is Place.PATH and schema.is_structured(found.type):
        raise SignatureError(
            f"path parameter {found.name!r} has a structured type", "one segment carries one plain value"
        )
    fields = schema.fields_of(found.type) if found.place is Place.QUERY else ()
    try:
        for tp in [field.text_type for field in fields] or [found.type]:
            text_reader(tp)
    except TypeError as error:
        problem, _, _ = str(error).partition("; ")
        raise SignatureError(
            f"{found.place} parameter {found.name!r}: {problem}",
            "take it from the body, Annotated[..., InBody()], or give it fields of plain values",
        ) from None


def _check_path(path: str | None, parameters: list[str]) -> None:
    for name in path_names(path):
        if name not in parameters:
            near = get_close_matches(name, parameters, 1)
            remedy = f"did you mean {{{near[0]}}}?" if near else f"add a parameter {name!r}"
            raise SignatureError(f"path {path!r} names {{{name}}}, which is no parameter", remedy)


_MARKED: dict[type, Place] = {Header: Place.HEADER, InQuery: Place.QUERY, InBody: Place.MEMBER}


def _place_of(operation: Operation, tp: Any, marks: list[Any], is_in_path: bool) -> Place:
    if is_in_path:
        return Place.PATH
    if marks:
        return _MARKED[type(marks[0])]
    if _is_stream_of_bytes(tp):
        return Place.UPLOAD
    # A read is named by its URL, a write carries what it writes; a DELETE has no body (RFC 9110, 9.3.5).
    if operation.kind is Kind.QUERY or operation.method == "DELETE":
        return Place.QUERY
    return Place.MEMBER


def _with_bodies(inputs: list[Input]) -> list[Input]:
    """A single structured member is the body itself."""
    uploads = [found for found in inputs if found.place is Place.UPLOAD]
    members = [found for found in inputs if found.place is Place.MEMBER]
    if len(uploads) + bool(members) > 1:
        others = ", ".join(repr(found.name) for found in [*uploads[1:], *members])
        raise SignatureError(
            f"parameter {uploads[0].name!r} takes the whole body, and {others} would come from it too",
            "keep one of them, or take the others from the query string: Annotated[..., InQuery()]",
        )
    if len(members) == 1 and _is_whole(members[0].type):
        only = members[0]
        whole = Input(only.name, only.type, Place.BODY, only.wire_name, only.default)
        return [whole if found is only else found for found in inputs]
    return inputs


def _is_whole(tp: Any) -> bool:
    """Whether a body can be a *tp*. One with files is a form, whose parts have names: no list can be one."""
    if holds_carried(tp):
        return all(schema.is_object(arm) for arm in schema.arms_of(tp) if arm is not type(None))
    return schema.is_structured(tp)


def _is_stream_of_bytes(tp: Any) -> bool:
    return typing.get_origin(tp) in _STREAMS and typing.get_args(tp)[:1] == (bytes,)


def _read_output(
    function: Callable[..., Any], hints: Mapping[str, Any], resource_types: frozenset[type]
) -> tuple[Any, bool]:
    if "return" not in hints:
        raise SignatureError("the output has no type", "annotate the return value (`-> None` for nothing)")
    tp = hints["return"]
    is_stream = typing.get_origin(tp) in _STREAMS
    item = typing.get_args(tp)[0] if is_stream else tp
    _check_yields(function, is_stream)
    bare = typing.get_args(item)[0] if typing.get_origin(item) is Annotated else item
    if bare in (None, type(None)):
        return None, is_stream
    if isinstance(bare, type) and bare in resource_types:
        raise SignatureError(f"the output is the resource {bare.__name__}", "declare a view of what may leave")
    if bare is not bytes and (why := unserialisable(item)):
        problem, _, remedy = why.partition("; ")
        raise SignatureError(f"the output cannot leave: {problem}", remedy or "declare a Struct")
    return item, is_stream


def _check_yields(function: Callable[..., Any], is_stream: bool) -> None:
    yields = _is(function, inspect.isasyncgenfunction)
    if is_stream and not yields:
        raise SignatureError(
            "the output is a stream, but the function yields nothing",
            "make it an `async def` with `yield item`, or answer a list",
        )
    if _is(function, inspect.isgeneratorfunction) or (yields and not is_stream):
        raise SignatureError(
            "the function yields, but its output is no stream",
            "make it `async def ... -> AsyncIterator[...]`",
        )


def _is(function: Callable[..., Any], question: Callable[[Any], bool]) -> bool:
    """Whether *question* holds of the function, or of the one that a decorator put it around."""
    return question(function) or question(inspect.unwrap(function))


def _name_of(tp: Any) -> str:
    return tp.__name__ if isinstance(tp, type) else str(tp)


def success_status(operation: Operation, signature: Signature) -> int:
    """The HTTP status of success: 204 where nothing is answered and the author said no other."""
    answers_nothing = signature.output is None and operation.page is None
    return 204 if answers_nothing and operation.status == 200 else operation.status
