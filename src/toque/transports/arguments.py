"""From an HTTP request to an operation's inputs; compiled once an operation.

What stands in the path, the query string and headers is read at once. A body is read later, inside the plan, when
the call has been admitted and its caller is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from toque.contract import conversion, schema
from toque.contract.errors import BadRequest, Fault, Invalid
from toque.contract.faults import refused
from toque.contract.signature import Input, Place, Signature, path_names
from toque.contract.text import text_reader, texts_reader

__all__ = ["PlainReader", "parse_query", "plain_reader"]

QUERY_FIELDS_MAX = 1_000
"""As many as Django takes (`DATA_UPLOAD_MAX_NUMBER_FIELDS`)."""


PlainReader = Callable[[Any, tuple[str, ...]], list[Any]]
"""Takes RSGI's scope and the path's values; returns a value for every input, None for those of the body."""

_Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """An input that one text stands for, or a list of them."""

    position: int
    input: Input
    read: _Read
    takes_list: bool

    def value(self, texts: list[str] | None) -> Any:
        """The input's value. Raises: Invalid where it is missing, comes too often or does not fit."""
        if texts is None:
            return _default(self.input)
        if self.takes_list:
            return self.read(texts)
        if len(texts) != 1:
            found = self.input
            raise refused(f"$.{found.wire_name}", "one value", f"{len(texts)} values", found.place.value)
        return self.read(texts[0])


def plain_reader(signature: Signature, path: str | None) -> PlainReader:
    """How the inputs outside the body are read.

    The reader raises Invalid with every fault at once, not only the first.
    Raises: TypeError at once where no text can stand for an input's type.
    """
    count = len(signature.inputs)
    in_path = [(path_names(path).index(one.input.name), one) for one in _fields(signature, Place.PATH)]
    in_query = _fields(signature, Place.QUERY)
    in_headers = _fields(signature, Place.HEADER)
    objects = [
        (position, _object_reader(found))
        for position, found in enumerate(signature.inputs)
        if found.place is Place.QUERY and schema.fields_of(found.type)
    ]
    reads_query = bool(in_query or objects)

    def read(scope: Any, segments: tuple[str, ...]) -> list[Any]:
        values: list[Any] = [None] * count
        try:
            for at, one in in_path:
                values[one.position] = one.read(segments[at])
            if reads_query:
                query = parse_query(scope.query_string)
                for one in in_query:
                    texts = query.get(one.input.wire_name)
                    if texts is not None and len(texts) == 1 and not one.takes_list:
                        values[one.position] = one.read(texts[0])
                    else:
                        values[one.position] = one.value(texts)
                for position, read_object in objects:
                    values[position] = read_object(query)
            for one in in_headers:
                text = scope.headers.get(one.input.wire_name)
                values[one.position] = one.value(None if text is None else [text])
        except Invalid:
            raise Invalid("the input does not have the declared shape", faults=faults(scope, segments)) from None
        return values

    def faults(scope: Any, segments: tuple[str, ...]) -> list[Fault]:
        """Everything that is wrong: each input is read once more, whatever the others are like."""
        query, header = parse_query(scope.query_string), scope.headers.get
        found: list[Fault] = []
        for act in (
            *(partial(one.value, [segments[at]]) for at, one in in_path),
            *(partial(one.value, query.get(one.input.wire_name)) for one in in_query),
            *(partial(read_object, query) for _, read_object in objects),
            *(partial(one.value, _one(header(one.input.wire_name))) for one in in_headers),
        ):
            try:
                act()
            except Invalid as error:
                found.extend(error.faults)
        return found

    return read


def _one(text: str | None) -> list[str] | None:
    return None if text is None else [text]


def _fields(signature: Signature, place: Place) -> list[_Field]:
    return [
        _Field(
            position,
            found,
            text_reader(found.type, place=place.value, path=f"$.{found.wire_name}"),
            schema.is_structured(found.type),
        )
        for position, found in enumerate(signature.inputs)
        if found.place is place and not schema.fields_of(found.type)
    ]


def _object_reader(found: Input) -> Callable[[dict[str, list[str]]], Any]:
    """A structured input of a query: each of its fields is one query parameter."""
    fields = [
        (field.name, texts_reader(field.type, place="query", path=f"$.{field.name}"))
        for field in schema.fields_of(found.type)
    ]

    def read(query: dict[str, list[str]]) -> Any:
        values = {name: convert(query[name]) for name, convert in fields if name in query}
        if not values and not found.is_required:
            return found.default
        return conversion.convert(values, found.type, strict=False, place="query")

    return read


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
