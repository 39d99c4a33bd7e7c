"""A function's signature, read once: which parameters are inputs, from where, and which are resources."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any

from toque.contract import schema
from toque.contract.nodes import unserialisable
from toque.contract.operation import Header, InBody, InQuery, Kind, Operation

__all__ = ["Input", "Place", "Signature", "SignatureError", "path_names", "read_annotations", "read_signature"]

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


@dataclass(frozen=True, slots=True)
class Input:
    """One parameter that the caller fills."""

    name: str
    type: Any
    place: Place
    wire_name: str
    default: Any = MISSING

    @property
    def is_required(self) -> bool:
        return self.default is MISSING


@dataclass(frozen=True, slots=True)
class Signature:
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


class SignatureError(TypeError):
    """A function cannot be offered; the message says which parameter and what to do."""


def read_signature(operation: Operation, resource_types: frozenset[type]) -> Signature:
    """Sort the parameters of *operation* into inputs and resources.

    Raises: SignatureError where a parameter or the output has no type, or one that nothing can provide or carry.
    """
    function = operation.function
    hints = read_annotations(function, operation.namespace)
    parameters = list(inspect.signature(function).parameters.values())
    inputs: list[Input] = []
    resources: list[tuple[int, type]] = []
    names_in_path = frozenset(path_names(operation.path))
    for position, parameter in enumerate(parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureError(f"*{parameter.name} cannot be filled; name each input")
        if parameter.name not in hints:
            raise SignatureError(f"parameter {parameter.name!r} has no type; annotate it")
        tp = hints[parameter.name]
        if isinstance(tp, type) and tp in resource_types:
            resources.append((position, tp))
        else:
            inputs.append(_read_input(operation, parameter, tp, names_in_path))
    if unused := names_in_path - {found.name for found in inputs}:
        name = sorted(unused)[0]
        near = get_close_matches(name, [parameter.name for parameter in parameters], 1)
        hint = f"; did you mean {{{near[0]}}}?" if near else f"; add a parameter {name!r}"
        raise SignatureError(f"path {operation.path!r} names {{{name}}}, which is no parameter{hint}")
    if "return" not in hints:
        raise SignatureError("the output has no type; annotate the return value (`-> None` for nothing)")
    output, is_stream = _read_output(hints["return"], resource_types)
    return Signature(
        inputs=_with_bodies(operation, inputs),
        resources=tuple(resources),
        keywords=tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY),
        output=output,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        is_stream=is_stream,
    )


def read_annotations(function: Callable[..., Any], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The types of a function's parameters and of its `return`, with what `Annotated` adds."""
    try:
        return typing.get_type_hints(function, localns=dict(namespace) or None, include_extras=True)
    except NameError as error:
        raise SignatureError(
            f"the type {error.name!r} cannot be found; import it at run time (not only for type checking)"
        ) from error


def path_names(path: str | None) -> list[str]:
    """The names in a path template: `/orders/{id}` has `id`."""
    return re.findall(r"\{([^{}]*)\}", path or "")


def _read_input(
    operation: Operation, parameter: inspect.Parameter, tp: Any, names_in_path: frozenset[str]
) -> Input:
    name = parameter.name
    marks = [mark for mark in getattr(tp, "__metadata__", ()) if isinstance(mark, Header | InQuery | InBody)]
    place, wire_name = _place_of(operation, tp, marks, name in names_in_path), name
    if marks and isinstance(marks[0], Header):
        wire_name = marks[0].name.lower()
    if place is not Place.UPLOAD and (why := unserialisable(tp)):
        raise SignatureError(f"parameter {name!r} can be neither an input nor a resource: {why}")
    if place is Place.PATH and schema.is_structured(tp):
        raise SignatureError(f"path parameter {name!r} has a structured type; one segment carries one plain value")
    return Input(name, tp, place, wire_name, parameter.default)


def _place_of(operation: Operation, tp: Any, marks: list[Any], is_in_path: bool) -> Place:
    if is_in_path:
        return Place.PATH
    if marks:
        return {Header: Place.HEADER, InQuery: Place.QUERY, InBody: Place.MEMBER}[type(marks[0])]
    if _is_stream_of_bytes(tp):
        return Place.UPLOAD
    # A read is named by its URL; a write carries what it writes. DELETE has no defined body (RFC 9110, 9.3.5).
    if operation.kind is Kind.QUERY or operation.method == "DELETE":
        return Place.QUERY
    return Place.MEMBER


def _with_bodies(operation: Operation, inputs: list[Input]) -> tuple[Input, ...]:
    """A single structured member is the body itself."""
    uploads = [found for found in inputs if found.place is Place.UPLOAD]
    members = [found for found in inputs if found.place is Place.MEMBER]
    if len(uploads) + bool(members) > 1:
        raise SignatureError(f"parameter {uploads[0].name!r} takes the whole body; no other input can come from it")
    if len(members) == 1 and schema.is_structured(members[0].type):
        only = members[0]
        whole = Input(only.name, only.type, Place.BODY, only.wire_name, only.default)
        return tuple(whole if found is only else found for found in inputs)
    return tuple(inputs)


def _is_stream_of_bytes(tp: Any) -> bool:
    return typing.get_origin(tp) in _STREAMS and typing.get_args(tp)[:1] == (bytes,)


def _read_output(tp: Any, resource_types: frozenset[type]) -> tuple[Any, bool]:
    origin = typing.get_origin(tp)
    is_stream = origin in _STREAMS
    item = typing.get_args(tp)[0] if is_stream else tp
    bare = typing.get_args(item)[0] if typing.get_origin(item) is Annotated else item
    if bare in (None, type(None)):
        return None, is_stream
    if isinstance(bare, type) and bare in resource_types:
        raise SignatureError(f"the output is the resource {bare.__name__}; declare a view of what may leave")
    if bare is not bytes and (why := unserialisable(item)):
        raise SignatureError(f"the output cannot leave: {why}")
    return item, is_stream
