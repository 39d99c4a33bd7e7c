"""From an HTTP request to an operation's inputs; compiled once an operation.

What stands in the path, the query string and headers is read at once. A body is read later, inside the plan, when
the call has been admitted and its caller is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from msgspec import Struct

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

_Query = dict[str, list[str]]
_Source = Callable[[tuple[str, ...], _Query, Any], Any]
"""One input from the path's values, the query's fields and the headers."""

_ABSENT: Any = object()


class _Field(Struct, frozen=True):
    """An input that one text stands for, or a list of them."""

    position: int
    input: Input
    read: Callable[[Any], Any]
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
    in_path = [(path_names(path).index(one.input.name), one) for one in _fields(signature, Place.PATH)]
    in_query = _fields(signature, Place.QUERY)
    objects = [
        (position, _object_reader(found))
        for position, found in enumerate(signature.inputs)
        if found.place is Place.QUERY and schema.fields_of(found.type)
    ]
    in_headers = _fields(signature, Place.HEADER)
    sources: list[tuple[int, _Source]] = [
        *((one.position, partial(_from_path, one.read, at)) for at, one in in_path),
        *((one.position, partial(_from_query, one)) for one in in_query),
        *((position, partial(_from_fields, read)) for position, read in objects),
        *((one.position, partial(_from_header, one)) for one in in_headers),
    ]
    count = len(signature.inputs)
    if not sources:
        return lambda _scope, _segments: [None] * count
    read = _thorough_reader(count, sources, reads_query=bool(in_query or objects))
    if objects or in_headers or any(one.takes_list for one in in_query):
        return read
    return _quick_reader(count, in_path, in_query, read)


def _thorough_reader(count: int, sources: list[tuple[int, _Source]], *, reads_query: bool) -> PlainReader:
    """Reads each input, whatever the others are like, so that it can say all that is wrong."""

    def read(scope: Any, segments: tuple[str, ...]) -> list[Any]:
        values: list[Any] = [None] * count
        query = parse_query(scope.query_string) if reads_query else {}
        headers = scope.headers
        faults: list[Fault] = []
        for position, source in sources:
            try:
                values[position] = source(segments, query, headers)
            except Invalid as error:
                faults.extend(error.faults)
        if faults:
            raise Invalid("the input does not have the declared shape", faults=faults)
        return values

    return read


def _quick_reader(
    count: int, in_path: list[tuple[int, _Field]], in_query: list[_Field], thorough: PlainReader
) -> PlainReader:
    """Reads what nearly every request is like: each input once, as it is meant to be, its text not encoded.

    It takes half the time; all else is read once more by *thorough*, which knows what to say.
    """
    paths = [(at, one.position, one.read) for at, one in in_path]
    by_name = {one.input.wire_name: (one.position, one.read) for one in in_query}
    expected = [(one.position, _ABSENT if one.input.is_required else one.input.default) for one in in_query]
    blank: list[Any] = [None] * count
    for position, _ in expected:
        blank[position] = _ABSENT

    def read(scope: Any, segments: tuple[str, ...]) -> list[Any]:
        values = blank.copy()
        try:
            for at, position, convert in paths:
                values[position] = convert(segments[at])
            if by_name:
                _read_query(scope.query_string, by_name, values)
            for position, default in expected:
                if values[position] is _ABSENT:
                    values[position] = default
        except (Invalid, _Unusual):
            return thorough(scope, segments)
        return values if _ABSENT not in values else thorough(scope, segments)

    return read


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


class _Unusual(Exception):
    """What only the thorough reader can read, or has words for."""


def _read_query(query: str, by_name: dict[str, tuple[int, Callable[[str], Any]]], values: list[Any]) -> None:
    """Put what a plain *query* has into *values*. Raises: _Unusual where it is not plain."""
    # Every field takes a byte at least, so a shorter one has no more of them than it may.
    if "%" in query or "+" in query or len(query) >= QUERY_FIELDS_MAX:
        raise _Unusual
    for pair in query.split("&"):
        name, _, text = pair.partition("=")
        found = by_name.get(name)
        if found is None:
            continue
        position, convert = found
        if values[position] is not _ABSENT:
            raise _Unusual
        values[position] = convert(text)


def _from_path(read: Callable[[str], Any], at: int, segments: tuple[str, ...], _query: _Query, _headers: Any) -> Any:
    return read(segments[at])


def _from_query(field: _Field, _segments: tuple[str, ...], query: _Query, _headers: Any) -> Any:
    return field.value(query.get(field.input.wire_name))


def _from_fields(read: Callable[[_Query], Any], _segments: tuple[str, ...], query: _Query, _headers: Any) -> Any:
    return read(query)


def _from_header(field: _Field, _segments: tuple[str, ...], _query: _Query, headers: Any) -> Any:
    name = field.input.wire_name
    text = headers.get(name)
    # granian hands out no value that is not ASCII, and an ASGI server any byte: RFC 9110, 5.5, gives none of them a
    # meaning.
    if (name in headers) if text is None else not text.isascii():
        raise refused(f"$.{name}", "ASCII", "other bytes", field.input.place.value)
    if text is None:
        return field.value(None)
    # Lines of one name are one list (RFC 9110, 5.3), of which empty elements are none (5.6.1).
    whole = ", ".join(headers.get_all(name))
    if not field.takes_list:
        return field.value([whole])
    return field.value([part for element in whole.split(",") if (part := element.strip(" \t"))])


def _object_reader(found: Input) -> Callable[[_Query], Any]:
    """A structured input of a query: each of its fields is one query parameter."""
    fields = [
        (field.name, texts_reader(field.text_type, place="query", path=f"$.{field.name}"))
        for field in schema.fields_of(found.type)
    ]

    def read(query: _Query) -> Any:
        values = {name: convert(query[name]) for name, convert in fields if name in query}
        if not values and not found.is_required:
            return found.default
        return conversion.convert(conversion.enums_as_values(values), found.type, strict=False, place="query")

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


def parse_query(query: str) -> _Query:
    """The fields of a query string, each with its values in order (WHATWG URL, application/x-www-form-urlencoded).

    Raises: BadRequest where its percent-encoding is not UTF-8, or there are more than QUERY_FIELDS_MAX fields.
    """
    fields: _Query = {}
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
