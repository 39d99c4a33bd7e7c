"""Values made from types: inputs that an operation takes, and rows that a table holds."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from toque.contract.json_schema import json_schema

if TYPE_CHECKING:
    from sqlalchemy import Column

__all__ = ["input_of", "value_of"]

DEPTH_MAX = 12
"""How deep a type may nest before it is taken for one that refers to itself."""

DISTINCT = 1000
"""As many different instants and amounts are made."""

_INSTANT = datetime(2026, 1, 1, tzinfo=UTC)


def input_of(tp: Any) -> Any:
    """A small plain value that type *tp* takes, made from its JSON Schema; None where the schema does not tell."""
    schemas, components = json_schema([tp])
    return _plain(schemas[0], components, 0)


def _plain(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> Any:
    if depth > DEPTH_MAX:
        return None
    if "$ref" in schema:
        return _plain(components[schema["$ref"].rpartition("/")[2]], components, depth + 1)
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if "enum" in schema:
        return schema["enum"][0]
    for choices in ("anyOf", "oneOf", "allOf"):
        if choices in schema:
            return _plain(schema[choices][0], components, depth + 1)
    kind = schema.get("type", "object")
    make = _BY_KIND.get(kind[0] if isinstance(kind, list) else kind)
    return make(schema, components, depth) if make else None


def _object(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> Any:
    fields = schema.get("properties", {})
    return {name: _plain(fields.get(name, {}), components, depth + 1) for name in schema.get("required", ())}


def _array(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> Any:
    return [_plain(schema.get("items", {}), components, depth + 1)] * schema.get("minItems", 0)


def _number(schema: Mapping[str, Any], *_: Any) -> Any:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    return max(least, 1) if schema.get("maximum", 1) >= 1 else least


def _string(schema: Mapping[str, Any], *_: Any) -> Any:
    text = _BY_FORMAT.get(schema.get("format", ""), "a")
    return text.ljust(schema.get("minLength", 0), "a")


Make = Callable[[Mapping[str, Any], Mapping[str, Any], int], Any]
_BY_KIND: Mapping[str, Make] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: False,
}
_BY_FORMAT = {
    "uuid": str(UUID(int=1)),
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00",
    "duration": "PT1S",
    "decimal": "1",
    "email": "a@example.com",
    "uri": "https://example.com/",
}


def value_of(column: Column[Any], number: int, mark: str) -> Any:
    """A value of *column*'s type: another one for another *number*; text bears *mark*."""
    kind = column.type
    enums: Any = getattr(kind, "enum_class", None)
    if enums is not None:
        return next(iter(enums))
    try:
        python_type: type = kind.python_type
    except NotImplementedError:
        return None
    if python_type is str:
        text = f"{mark}{number}"
        return text[: getattr(kind, "length", None) or len(text)]
    if python_type is object and not column.nullable:
        # A document, of which its column does not say whether it is a list.
        return {}
    make = next((_BY_TYPE[base] for base in python_type.__mro__ if base in _BY_TYPE), None)
    return None if make is None else make(number)


_BY_TYPE: Mapping[type, Callable[[int], Any]] = {
    bool: lambda _: False,
    int: lambda number: number,
    # Small: a column may take few digits.
    float: lambda number: float(number % DISTINCT),
    Decimal: lambda number: Decimal(number % DISTINCT),
    UUID: lambda number: UUID(int=number),
    bytes: lambda number: str(number).encode(),
    datetime: lambda number: _INSTANT + timedelta(days=number % DISTINCT),
    date: lambda number: date(2026, 1, 1) + timedelta(days=number % DISTINCT),
    time: lambda _: time(),
    timedelta: lambda number: timedelta(seconds=number % DISTINCT),
    dict: lambda _: {},
    list: lambda _: [],
    enum.Enum: lambda _: None,
}
