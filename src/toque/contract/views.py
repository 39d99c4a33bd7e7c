"""What leaves is what was declared: an operation's result, narrowed to its declared output.

An encoder writes whatever it is handed: all fields of a subclass, every key of a dict. So what a function
returned is compared with the type it declared before anything is encoded. An exact instance of a declared
object type passes untouched, and its plain fields are trusted, as its author's type checker vouched for
them; all else (subclasses, dicts, database rows, extra keys) is rebuilt from the declared fields alone.
What cannot become the declared type is the operation's mistake: a plain TypeError that names the field."""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Callable, Coroutine, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from toque.contract import schema
from toque.contract.conversion import dec_hook, enums_as_values
from toque.contract.hints import hints_of
from toque.contract.schema import type_name

__all__ = ["Shape", "shaper"]

Shape = Callable[[Any], Any]
"""Takes what a function returned and returns the declared value; raises TypeError."""

_SCALARS = (type(None), bool, int, float, str, bytes, Decimal, UUID, datetime, date, time, timedelta, Enum)
_PLAIN_TYPES = frozenset((*_SCALARS, UnsetType))


def shaper(tp: Any) -> Shape | None:
    """What makes a result into *tp* and nothing more; None where nothing is declared: nothing leaves."""
    if schema.plain_type(tp) in (None, type(None)):
        return None
    return _checked(tp, type_name(tp), {})


_Known = dict[Any, Shape]
"""The shapes of the object types met so far: a type may hold itself."""


def _checked(tp: Any, where: str, known: _Known) -> Shape:
    """The shape of a value that nobody vouched for."""
    return _shape(tp, where, known) or _leaf(tp, where)


def _shape(tp: Any, where: str, known: _Known) -> Shape | None:
    """The shape of a value inside an exact instance; None for plain values, which are trusted there."""
    if _is_plain(tp):
        return None
    arms = schema.arms_of(tp)
    only = schema.plain_type(arms[0])
    if len(arms) > 1:
        return _union(arms, where, known)
    if only is Any:
        return functools.partial(_plain, where)
    return _object(only, known) if schema.is_object(only) else _container(only, where, known)


def _is_plain(tp: Any) -> bool:
    """Whether *tp* is a scalar or made of scalars only, so that nothing undeclared fits into it."""
    if isinstance(tp, type) and tp in _PLAIN_TYPES:
        return True
    arms = schema.plain_arms(tp)
    if len(arms) > 1:
        return all(map(_is_plain, arms))
    only = schema.plain_type(tp)
    if only is Any or schema.is_object(only):
        return False
    if not schema.is_container(only):
        return True
    held = _members(only) or typing.get_args(only)
    return bool(held) and all(one is Ellipsis or _is_plain(one) for one in held)


def _members(tp: Any) -> tuple[Any, ...]:
    """The types of a named tuple's places; none of anything else."""
    return tuple(hints_of(tp).values()) if hasattr(typing.get_origin(tp) or tp, "_fields") else ()


def _leaf(tp: Any, where: str) -> Shape:
    plain = schema.plain_type(tp)

    def shape(value: Any) -> Any:
        return value if type(value) is plain and plain in _PLAIN_TYPES else _converted(value, tp, where)

    return shape


def _converted(value: Any, tp: Any, where: str) -> Any:
    try:
        return _made(value, tp)
    except msgspec.ValidationError:
        value = enums_as_values(value)
    try:
        return _made(value, tp)
    except msgspec.ValidationError as error:
        raise TypeError(f"{where}: {error}") from error


def _made(value: Any, tp: Any) -> Any:
    return msgspec.convert(value, tp, from_attributes=True, dec_hook=dec_hook)


def _came(value: Any) -> str:
    return "a coroutine, which nobody awaited" if isinstance(value, Coroutine) else type_name(type(value))


def _plain(where: str, value: Any) -> Any:
    """Any means any plain value. An object in its place would leave with all that it holds."""
    if isinstance(value, dict):
        _plain(where, value.keys())
        _plain(where, value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Enum):
        items: Iterable[Any] = value
        if not _PLAIN_TYPES.issuperset(map(type, items)):
            for item in items:
                _plain(where, item)
    elif not isinstance(value, _SCALARS):
        raise TypeError(f"{where} is Any, which takes plain values, got {_came(value)}; declare its type")
    return value


# Objects.


def _object(tp: Any, known: _Known) -> Shape:
    if tp in known:
        return known[tp]
    cls = typing.get_origin(tp) or tp
    if schema.is_pydantic(cls):
        return _pydantic(cls)

    # The real shape replaces this once the fields are known, which may hold the type itself.
    def later(value: Any) -> Any:
        return known[tp](value)

    known[tp] = later
    fields = [(field, _shape(field.type, f"{type_name(tp)}.{field.name}", known)) for field in schema.fields_of(tp)]
    narrow = functools.partial(_narrowed, tp, fields)
    inner = [(field.attribute, shape) for field, shape in fields if shape is not None]
    if schema.is_typed_dict(cls):
        known[tp] = narrow
    elif inner or _is_open(cls):
        known[tp] = _nested(cls, inner, len(fields) if _is_open(cls) else None, narrow)
    else:
        known[tp] = lambda value: value if type(value) is cls else narrow(value)
    return known[tp]


def _is_open(cls: type) -> bool:
    """Whether msgspec writes attributes of an instance that are no fields: so with attrs and `__dict__`."""
    return hasattr(cls, "__attrs_attrs__") and any("__dict__" in vars(one) for one in cls.__mro__)


def _nested(cls: type, inner: list[tuple[str, Shape]], count: int | None, narrow: Shape) -> Shape:
    def shape(value: Any) -> Any:
        if type(value) is not cls or (count is not None and len(vars(value)) > count):
            return narrow(value)
        for attribute, part in inner:
            held = getattr(value, attribute)
            if part(held) is not held:
                return narrow(value)
        return value

    return shape


def _narrowed(tp: Any, fields: list[tuple[schema.Field, Shape | None]], value: Any) -> Any:
    """A new *tp* of the declared fields of *value*: a dict's keys, or anything else's attributes."""
    if isinstance(value, (*_SCALARS, list, tuple, set, frozenset)) and not hasattr(value, "_fields"):
        raise TypeError(f"expected {type_name(tp)}, got {_came(value)}")
    members = {}
    for field, shape in fields:
        held = _held(value, field)
        if held is not UNSET:
            members[field.name] = held if shape is None else shape(held)
    return _converted(members, tp, f"{type_name(tp)} from {_came(value)}")


def _held(value: Any, field: schema.Field) -> Any:
    if isinstance(value, Mapping):
        return value.get(field.attribute, value.get(field.name, UNSET))
    return getattr(value, field.attribute, UNSET)


def _pydantic(cls: Any) -> Shape:
    """pydantic writes the declared fields of what a model holds, so only the model itself can be too much."""

    def shape(value: Any) -> Any:
        if type(value) is cls:
            return value
        if isinstance(value, cls):
            return cls.model_construct(**{name: getattr(value, name) for name in cls.model_fields})
        try:
            return cls.model_validate(value, from_attributes=True)
        except ValueError as error:
            # pydantic's own text quotes the values, which belong in no log.
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in getattr(error, "errors", list)())
            raise TypeError(f"expected {type_name(cls)}, got {_came(value)}; wrong are: {wrong}") from None

    return shape


# Containers and unions.


def _container(tp: Any, where: str, known: _Known) -> Shape:
    origin, arguments = typing.get_origin(tp) or tp, typing.get_args(tp)
    if issubclass(origin, Mapping):
        value = arguments[1] if arguments else Any
        return _dict(value, where, known)
    if members := _members(tp):
        return _tuple(members, where, known, origin)
    if issubclass(origin, tuple) and arguments and Ellipsis not in arguments:
        return _tuple(arguments, where, known)
    made = tuple if issubclass(origin, tuple) else set if issubclass(origin, AbstractSet) else list
    return _items(made, arguments[0] if arguments else Any, where, known)


def _items(made: Any, item_type: Any, where: str, known: _Known) -> Shape:
    where += "[]"
    item = _checked(item_type, where, known)
    passing = _passing(item_type)

    def shape(value: Any) -> Any:
        if passing and isinstance(value, made) and passing.issuperset(map(type, value)):
            return value
        if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
            raise TypeError(f"{where} is declared as {made.__name__}, got {_came(value)}")
        held: Any = value if isinstance(value, made) else made(value)
        shaped = [item(one) for one in held]
        return held if all(map(operator.is_, shaped, held)) else made(shaped)

    return shape


def _dict(value_type: Any, where: str, known: _Known) -> Shape:
    where += "{}"
    item = _checked(value_type, where, known)

    def shape(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} is declared as a dict, got {_came(value)}")
        _plain(where, value.keys())
        return {key: item(held) for key, held in value.items()}

    return shape


def _tuple(item_types: tuple[Any, ...], where: str, known: _Known, made: Any = None) -> Shape:
    items = [_checked(item, f"{where}[{at}]", known) for at, item in enumerate(item_types)]

    def shape(value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) != len(items):
            raise TypeError(f"{where} is declared as a tuple of {len(items)}, got {_came(value)}")
        shaped = [item(held) for item, held in zip(items, value, strict=True)]
        return tuple(shaped) if made is None else made(*shaped)

    return shape


def _passing(tp: Any) -> frozenset[type]:
    """The classes whose exact instances pass untouched as *tp*; none where some arm needs a closer look."""
    arms = schema.plain_arms(tp)
    return frozenset(arms) if all(arm in _PLAIN_TYPES or _is_flat(arm) for arm in arms) else frozenset()


def _is_flat(tp: Any) -> bool:
    if schema.is_pydantic(tp):
        return True
    is_closed = schema.is_object(tp) and not schema.is_typed_dict(tp) and typing.get_origin(tp) is None
    if not is_closed or _is_open(tp):
        return False
    return all(_is_plain(field.type) for field in schema.fields_of(tp))


def _union(arms: tuple[Any, ...], where: str, known: _Known) -> Shape:
    passing = _passing(typing.Union[arms])  # noqa: UP007 (the arms are data)
    shapes = [(schema.plain_type(arm), _checked(arm, where, known)) for arm in arms]
    by_class = {typing.get_origin(arm) or arm: shape for arm, shape in shapes if _is_class(arm)}

    def shape(value: Any) -> Any:
        if type(value) in passing:
            return value
        for cls in type(value).__mro__:
            if cls in by_class:
                return by_class[cls](value)
        for arm, part in shapes:
            if _is_told_apart(arm, value):
                continue
            try:
                return part(value)
            except TypeError:
                continue
        raise TypeError(f"{where} is declared as {' | '.join(map(type_name, arms))}, got {_came(value)}")

    return shape


def _is_class(arm: Any) -> bool:
    return schema.is_object(arm) and not schema.is_typed_dict(arm)


def _is_told_apart(arm: Any, value: Any) -> bool:
    """Whether a dict says by its tag that it is another arm."""
    config = getattr(arm, "__struct_config__", None)
    if config is None or config.tag is None or not isinstance(value, Mapping):
        return False
    return bool(value.get(config.tag_field, config.tag) != config.tag)
