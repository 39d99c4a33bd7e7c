"""What JSON Schema can say of the texts that stand for moments, decimal numbers and bytes, and of flags.

msgspec names no format for a `datetime` that may be naive, and for a `Decimal` one that nobody knows. A client that
goes by the document would send any text. Of a `Flag` it names the members, and not what they make together.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from enum import Flag
from typing import Any

from msgspec import inspect

__all__ = ["say_formats"]

Json = dict[str, Any]

SAID: Mapping[type, Json] = {
    inspect.DateTimeType: {"format": "date-time"},
    inspect.TimeType: {"format": "time"},
    inspect.DecimalType: {"pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$"},
    # RFC 4648, section 4, with its padding.
    inspect.BytesType: {"pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
}


def say_formats(tps: Sequence[Any], schemas: Sequence[Json], components: Json) -> None:
    """Add to the *schemas* of *tps*, and to their *components*, what they leave out."""
    seen: set[int] = set()
    waiting = list(zip(inspect.multi_type_info(tps), schemas, strict=True))
    while waiting:
        node, schema = waiting.pop()
        while isinstance(node, inspect.Metadata):
            node = node.type
        schema = components.get(schema.get("$ref", "").rpartition("/")[2], schema)
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        if isinstance(node, inspect.EnumType) and issubclass(node.cls, Flag):
            del schema["enum"]
            schema |= {"type": "integer", "minimum": 0, "maximum": _all_flags(node.cls)}
        if schema.get("type") == "string":
            schema.update({key: value for key, value in SAID.get(type(node), {}).items() if key not in schema})
        waiting.extend(_inner(node, schema))


def _all_flags(flags: type[Flag]) -> int:
    return functools.reduce(operator.or_, (member.value for member in flags.__members__.values()), 0)


def _inner(node: inspect.Type, schema: Json) -> Iterator[tuple[inspect.Type, Json]]:
    """The types inside *node*, each with its part of *schema*."""
    if isinstance(node, inspect.UnionType):
        for arm in schema.get("anyOf", ()):
            yield from ((inner, arm) for inner in node.types if _may_be(inner, arm))
        return
    properties = schema.get("properties", {})
    for field in getattr(node, "fields", ()):
        if field.encode_name in properties:
            yield field.type, properties[field.encode_name]
    places = getattr(node, "item_types", None) or [field.type for field in getattr(node, "fields", ())]
    # From behind, for a tag may stand before them.
    yield from zip(reversed(places), reversed(schema.get("prefixItems", ())), strict=False)
    for name, part in (("item_type", "items"), ("value_type", "additionalProperties")):
        if hasattr(node, name) and isinstance(schema.get(part), dict):
            yield getattr(node, name), schema[part]


def _may_be(node: inspect.Type, schema: Json) -> bool:
    """Whether *schema* can be that of *node*, in a union: it holds one kind of text at most, one of lists, ..."""
    while isinstance(node, inspect.Metadata):
        node = node.type
    if schema.get("type") == "string":
        return type(node) in SAID
    if "$ref" in schema:
        name: str = getattr(getattr(node, "cls", None), "__name__", "")
        return name == str(schema["$ref"]).rpartition("/")[2]
    return hasattr(node, "item_type") if "items" in schema else hasattr(node, "value_type")
