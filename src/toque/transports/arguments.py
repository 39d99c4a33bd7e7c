"""From an HTTP request to an operation's inputs; compiled once an operation.

What stands in the path, the query string and headers is read at once. A body is read later, inside the plan, when
the call has been admitted and its caller is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from toque.contract import conversion, schema
from toque.contract.errors import BadRequest, Fault, Invalid
from toque.contract.signature import Input, Place, Signature, path_names
from toque.contract.text import texts_reader

__all__ = ["PlainReader", "parse_query", "plain_reader"]

QUERY_FIELDS_MAX = 1_000
"""As many as Django takes (`DATA_UPLOAD_MAX_NUMBER_FIELDS`)."""


PlainReader = Callable[[Any, tuple[str, ...]], list[Any]]
"""Takes RSGI's scope and the path's values; returns a value for every input, None for those of the body."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One plain input: where it lies, and how its text becomes a value."""

    position: int
    input: Input
    read: Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]


def plain_reader(signature: Signature, path: str | None) -> PlainReader:
    """How the inputs outside the body are read.

    The reader raises Invalid with every fault at once, not only the first.
    """
    slots = [
        _Slot(position, found, _reader_of(found, path))
        for position, found in enumerate(signature.inputs)
        if found.place in (Place.PATH, Place.QUERY, Place.HEADER)
    ]
    count = len(signature.inputs)
    has_query = bool(signature.places(Place.QUERY))
    if not slots:
        return lambda _scope, _segments: [None] * count

    def read(scope: Any, segments: tuple[str, ...]) -> list[Any]:
        query = parse_query(scope.query_string) if has_query else {}
        values: list[Any] = [None] * count
        try:
            for slot in slots:
                values[slot.position] = slot.read(scope, segments, query)
        except Invalid:
            raise _all_faults(slots, scope, segments, query) from None
        return values

    return read


def _all_faults(
    slots: list[_Slot], scope: Any, segments: tuple[str, ...], query: dict[str, list[str]]
) -> Invalid:
    faults: list[Fault] = []
    for slot in slots:
        try:
            slot.read(scope, segments, query)
        except Invalid as error:
            faults.extend(error.faults)
    return Invalid("the input does not have the declared shape", faults=faults)


def _reader_of(found: Input, path: str | None) -> Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]:
    if found.place is Place.PATH:
        return _path_reader(found, path_names(path).index(found.name))
    if found.place is Place.HEADER:
        return _header_reader(found)
    if schema.fields_of(found.type):
        return _object_reader(found)
    return _query_reader(found)


def _path_reader(found: Input, at: int) -> Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]:
    convert = _texts_reader(found)
    return lambda _scope, segments, _query: convert([segments[at]])


def _header_reader(found: Input) -> Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]:
    convert = _texts_reader(found)
    name = found.wire_name

    def read(scope: Any, _segments: tuple[str, ...], _query: dict[str, list[str]]) -> Any:
        value = scope.headers.get(name)
        return _default(found) if value is None else convert([value])

    return read


def _query_reader(found: Input) -> Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]:
    convert = _texts_reader(found)
    name = found.wire_name

    def read(_scope: Any, _segments: tuple[str, ...], query: dict[str, list[str]]) -> Any:
        texts = query.get(name)
        return _default(found) if texts is None else convert(texts)

    return read


def _object_reader(found: Input) -> Callable[[Any, tuple[str, ...], dict[str, list[str]]], Any]:
    """A structured input of a query: each of its fields is one query parameter."""
    fields = [
        (field.name, texts_reader(field.type, place="query", path=f"$.{field.name}"))
        for field in schema.fields_of(found.type)
    ]

    def read(_scope: Any, _segments: tuple[str, ...], query: dict[str, list[str]]) -> Any:
        values = {name: convert(query[name]) for name, convert in fields if name in query}
        if not values and not found.is_required:
            return found.default
        return conversion.convert(values, found.type, strict=False, place="query")

    return read


def _texts_reader(found: Input) -> Callable[[list[str]], Any]:
    return texts_reader(found.type, place=found.place.value, path=f"$.{found.wire_name}")


def _default(found: Input) -> Any:
    if found.is_required:
        fault = Fault(
            path=f"$.{found.wire_name}",
            place=found.place.value,
            message=f"{found.wire_name} is missing",
            expected="a value",
            received="nothing",
        )
        raise Invalid("an input is missing", faults=[fault])
    return found.default


def parse_query(query: str) -> dict[str, list[str]]:
    """The fields of a query string, each with its values in order (WHATWG URL, application/x-www-form-urlencoded).

    Raises: BadRequest where its percent-encoding is not UTF-8, or there are more than QUERY_FIELDS_MAX fields.
    """
    fields: dict[str, list[str]] = {}
    if not query:
        return fields
    pairs = query.split("&", QUERY_FIELDS_MAX)
    if len(pairs) > QUERY_FIELDS_MAX:
        raise BadRequest(f"the query string has more than {QUERY_FIELDS_MAX} fields")
    is_encoded = "%" in query or "+" in query
    for pair in pairs:
        name, _, value = pair.partition("=")
        if is_encoded:
            name, value = _decoded(name), _decoded(value)
        if name:
            fields.setdefault(name, []).append(value)
    return fields


def _decoded(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the query string's percent-encoding is not UTF-8") from None
