"""What plain values may not do to us: looked at before they are converted.

Two things are costly: Decimals whose exponent makes every later sum a calamity, and dicts and sets keyed by
numbers chosen to share one hash (Python's numeric hash is the remainder by 2**61 - 1; UUIDs and tuples follow
it), which makes them quadratic. Text is safe: its hash is secret.

Source: measured in 2026-11 on Python 3.11, a set of 8 000 UUIDs or Decimals that collide
takes 2.4 s or 0.7 s.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect

from toque.contract.errors import Invalid
from toque.contract.faults import refused
from toque.contract.nodes import model_members, nodes_of
from toque.contract.schema import is_root

__all__ = ["COLLIDING_KEYS_MAX", "DECIMAL_EXPONENT_MAX", "bounded_decimal", "key_guard", "may_crowd"]

DECIMAL_EXPONENT_MAX = 6144
"""The largest exponent of a Decimal from outside, either way: that of IEEE 754 decimal128. The eleven bytes
`1e999999999` are 400 MB as an int."""
COLLIDING_KEYS_MAX = 256
"""Keys of a dict or members of a set that may share one hash: 256 cost 1 to 3 ms, 8 000 cost seconds."""


@functools.cache
def key_guard(tp: Any) -> Callable[..., None] | None:
    """What refuses plain values that are costly to turn into a *tp*, or None where none can be."""
    is_priced = any(isinstance(node, inspect.DecimalType) for node in nodes_of(tp, in_models=True))
    if not (is_priced or may_crowd(tp)):
        return None
    root = inspect.type_info(tp)

    def guard(value: Any, place: str = "body", path: str = "$") -> None:
        try:
            _examine(root, value, path)
        except Invalid as error:
            placed = [msgspec.structs.replace(fault, place=place) for fault in error.faults]
            raise Invalid(error.detail, faults=placed) from None

    return guard


def may_crowd(tp: Any) -> bool:
    """Whether a value of *tp* may hold a dict or set whose keys a client could make collide."""
    return any(_keys_of(node) is not None for node in nodes_of(tp, in_models=True))


_KEY_TYPES: dict[type, Any] = {
    inspect.IntType: int,
    inspect.DecimalType: Decimal,
    inspect.UUIDType: UUID,
    inspect.TimeDeltaType: timedelta,
}
_SAFE_KEYS = (
    inspect.StrType,
    inspect.BytesType,
    inspect.BoolType,
    inspect.FloatType,
    inspect.NoneType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
)


def _keys_of(node: Any) -> inspect.Type | None:
    """The type of the keys or members that *node* hashes, where a client could make them collide."""
    if isinstance(node, inspect.SetType | inspect.FrozenSetType):
        return None if isinstance(node.item_type, _SAFE_KEYS) else node.item_type
    # The keys of an untyped dict are text (and what else MessagePack has, which its codec looks after).
    if isinstance(node, inspect.DictType) and not isinstance(node.key_type, (*_SAFE_KEYS, inspect.AnyType)):
        return node.key_type
    return None


def _examine(node: Any, value: Any, path: str) -> None:
    if isinstance(node, inspect.CustomType) and is_root(node.cls):
        ((_, node),) = model_members(node.cls)
    if isinstance(node, inspect.UnionType):
        node = _arm_for(node, value)
    if isinstance(node, inspect.DecimalType):
        _refuse_wild_decimal(value, path)
    elif isinstance(value, dict):
        if (keys := _keys_of(node)) is not None:
            _refuse_collisions(keys, value, path)
        for name, inner in _members(node):
            if name in value:
                _examine(inner, value[name], f"{path}.{name}")
        if isinstance(node, inspect.DictType):
            for key, item in value.items():
                _examine(node.key_type, key, path)
                _examine(node.value_type, item, f"{path}[...]")
    elif isinstance(value, list | tuple | set | frozenset):
        if (keys := _keys_of(node)) is not None:
            _refuse_collisions(keys, value, path)
        for inner, item in zip(_places(node), value, strict=False):
            _examine(inner, item, f"{path}[...]")


def _arm_for(node: inspect.UnionType, value: Any) -> inspect.Type | None:
    """The one arm that *value* can become: a union has one of each shape at most, or a tag."""
    return next((arm for arm in node.types if _may_become(arm, value)), None)


def _may_become(arm: Any, value: Any) -> bool:
    tag = getattr(arm, "tag", None)
    if isinstance(value, dict):
        takes_names = hasattr(arm, "key_type") or hasattr(arm, "fields") or isinstance(arm, inspect.CustomType)
        return takes_names and (tag is None or value.get(getattr(arm, "tag_field", "")) == tag)
    if isinstance(value, list | tuple):
        return _has_places(arm) and (tag is None or [*value[:1]] == [tag])
    return isinstance(arm, inspect.DecimalType)


def _members(node: Any) -> list[tuple[str, inspect.Type]]:
    if isinstance(node, inspect.CustomType):
        return [*model_members(node.cls)]
    return [(field.encode_name, field.type) for field in getattr(node, "fields", ())]


def _has_places(node: Any) -> bool:
    return hasattr(node, "item_type") or hasattr(node, "item_types") or getattr(node, "array_like", False)


def _places(node: Any) -> Iterator[inspect.Type]:
    """The type of each element, in order."""
    if (item := getattr(node, "item_type", None)) is not None:
        return itertools.repeat(item)
    if getattr(node, "tag", None) is not None:
        return itertools.chain([inspect.AnyType()], (field.type for field in node.fields))
    return iter(getattr(node, "item_types", None) or [field.type for field in getattr(node, "fields", ())])


def _refuse_wild_decimal(value: Any, path: str) -> None:
    if not isinstance(value, str | int | float | Decimal):
        return
    try:
        number = Decimal(value)
    except (ArithmeticError, ValueError):
        return  # No number: the conversion itself will say so.
    try:
        bounded_decimal(number)
    except InvalidOperation:
        expected = f"a finite decimal number with an exponent within {DECIMAL_EXPONENT_MAX}"
        raise refused(path, expected, "one beyond it") from None


def _refuse_collisions(node: Any, keys: Any, path: str) -> None:
    if len(keys) <= COLLIDING_KEYS_MAX:
        return
    tp = getattr(node, "cls", None) or _KEY_TYPES.get(type(node))
    if tp is None:
        raise refused(path, f"at most {COLLIDING_KEYS_MAX} keys of this type", f"{len(keys)}")
    try:
        hashes = {hash(msgspec.convert(key, tp, strict=False)) for key in keys}
    except (TypeError, msgspec.ValidationError):
        return  # The conversion itself will say what is wrong, and stops at the first wrong key.
    if len(keys) - len(hashes) > COLLIDING_KEYS_MAX:
        raise refused(path, f"at most {COLLIDING_KEYS_MAX} keys of one hash", f"{len(keys)} of {len(hashes)}")


def bounded_decimal(number: Decimal) -> Decimal:
    """*number* where it is finite and neither end of it lies beyond `DECIMAL_EXPONENT_MAX`."""
    lowest = number.as_tuple().exponent
    if not isinstance(lowest, int) or max(number.adjusted(), -lowest) > DECIMAL_EXPONENT_MAX:
        raise InvalidOperation("the exponent is out of range")
    return number
