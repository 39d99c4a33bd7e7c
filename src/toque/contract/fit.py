"""Whether each value of one JSON Schema is a value of another: what comparisons of manifests ask.

An input may grow wider and an output narrower. So both questions are one: may a value of one schema fail the
other? Compared are the parts of JSON Schema that our types make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import gt, lt
from typing import Any

__all__ = ["Fit", "Schemas"]

DEPTH_MAX = 32
"""Types that refer to themselves are followed once round; deeper than this nobody nests by hand."""

Schema = Mapping[str, Any]
Schemas = Mapping[str, Schema]


class Fit:
    """Whether each value of one schema is a value of another.

    For an input, what the old took must fit the new; for an output, what the new gives must fit the old.

    Args:
        takes_more: whether members that the taker does not know are no misfit.
    """

    def __init__(
        self, given_schemas: Schemas, taken_schemas: Schemas, *, is_output: bool = False, takes_more: bool = False
    ) -> None:
        self._given_schemas = given_schemas
        self._taken_schemas = taken_schemas
        self._is_output = is_output
        self._takes_more = takes_more
        self._seen: set[tuple[str, str]] = set()

    def misfits(self, given: Schema, taken: Schema, at: str, depth: int = 0) -> Iterator[str]:
        """Why a value of *given* may be no value of *taken*."""
        refs = (given.get("$ref", ""), taken.get("$ref", ""))
        if all(refs):
            if refs in self._seen:
                return
            self._seen.add(refs)
        given, taken = _resolved(given, self._given_schemas), _resolved(taken, self._taken_schemas)
        if (given == taken and "$ref" not in repr(given)) or depth > DEPTH_MAX:
            return
        arms, slots = _arms(given), _arms(taken)
        if len(arms) > 1 or len(slots) > 1:
            yield from self._union_misfits(arms, slots, at, depth)
            return
        yield from self._plain_misfits(given, taken, at)
        yield from self._member_misfits(given, taken, at, depth)

    def _union_misfits(self, arms: list[Schema], slots: list[Schema], at: str, depth: int) -> Iterator[str]:
        """Each arm must fit one slot; of the same kind, if there is one, and it says what is wrong."""
        for arm in arms:
            whole = _resolved(arm, self._given_schemas)
            fitting = [slot for slot in slots if _kind(_resolved(slot, self._taken_schemas)) == _kind(whole)]
            tries = [list(self.misfits(arm, slot, at, depth + 1)) for slot in fitting or slots]
            if all(tries):
                yield from (min(tries, key=len) if fitting else [self._lacks(at, _kind(whole))])

    def _plain_misfits(self, given: Schema, taken: Schema, at: str) -> Iterator[str]:
        kind, wanted = _kind(given), _kind(taken)
        if wanted not in ("anything", kind) and (kind, wanted) != ("integer", "number"):
            yield self._says(at, kind, wanted)
            return
        choices, allowed = _choices(given), _choices(taken)
        if allowed is not None and (choices is None or not all(choice in allowed for choice in choices)):
            yield self._says(at, _listing(choices), _listing(allowed))
        for word, is_tighter in _BOUNDS.items():
            bound, given_bound = taken.get(word), given.get(word)
            if bound is not None and (given_bound is None or is_tighter(bound, given_bound)):
                yield self._says(at, f"{word} {_bound(given_bound)}", f"{word} {bound}")
        for word in ("format", "pattern", "contentEncoding", "multipleOf"):
            if word in taken and taken[word] != given.get(word):
                yield self._says(at, f"{word} {_bound(given.get(word))}", f"{word} {taken[word]}")

    def _member_misfits(self, given: Schema, taken: Schema, at: str, depth: int) -> Iterator[str]:
        fields, wanted = given.get("properties", {}), taken.get("properties", {})
        for name in taken.get("required", ()):
            if name not in fields:
                yield f"{at}.{name} is gone" if self._is_output else f"{at}.{name} is new and required"
            elif name not in given.get("required", ()):
                yield (f"{at}.{name} may be missing, and was not" if self._is_output else f"{at}.{name} is required")
        for name in wanted if self._is_output else fields:
            if (name in fields) != (name in wanted) and name not in taken.get("required", ()):
                yield from () if self._takes_more else (f"{at}.{name} is gone",)
            elif name in fields and name in wanted:
                yield from self.misfits(fields[name], wanted[name], f"{at}.{name}", depth + 1)
        for word, place in (("items", "[]"), ("additionalProperties", ".*")):
            inner, outer = given.get(word), taken.get(word)
            if isinstance(inner, Mapping) and isinstance(outer, Mapping):
                yield from self.misfits(inner, outer, at + place, depth + 1)
        for number, (inner, outer) in enumerate(
            zip(given.get("prefixItems", ()), taken.get("prefixItems", ()), strict=False)
        ):
            yield from self.misfits(inner, outer, f"{at}[{number}]", depth + 1)

    def _lacks(self, at: str, kind: str) -> str:
        return f"{at} may be {kind}, and never was" if self._is_output else f"{at} no longer takes {kind}"

    def _says(self, at: str, given: str, taken: str) -> str:
        now, then = (given, taken) if self._is_output else (taken, given)
        return f"{at} is {now}, and was {then}"


_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": gt,
    "exclusiveMinimum": gt,
    "minLength": gt,
    "minItems": gt,
    "maximum": lt,
    "exclusiveMaximum": lt,
    "maxLength": lt,
    "maxItems": lt,
}
"""Of two bounds, whether the first is the tighter."""


def _resolved(schema: Schema, schemas: Schemas) -> Schema:
    ref = schema.get("$ref")
    return schema if ref is None else schemas.get(ref.rpartition("/")[2], {})


def _arms(schema: Schema) -> list[Schema]:
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return list(schema[word])
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    return [schema]


def _kind(schema: Schema) -> str:
    if "type" in schema:
        return str(schema["type"])
    choices = _choices(schema)
    if not choices:
        return "anything"
    return {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}[type(choices[0])]


def _choices(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _listing(choices: list[Any] | None) -> str:
    return "anything" if choices is None else "one of " + ", ".join(map(str, choices))


def _bound(value: Any) -> str:
    return "unbounded" if value is None else str(value)
