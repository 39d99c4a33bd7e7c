"""Types as neutral facts: what kind of type it is, and which fields an object has.

msgspec does the work. Structs, dataclasses, attrs classes and TypedDicts are its own; a pydantic model is
known by its attributes (`model_validate`, `model_dump`) and never imported. A class that carries its own JSON
Schema in `__json_schema__` (an uploaded file) passes through as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from toque.contract.hints import hints_of

__all__ = [
    "CONTAINERS",
    "Field",
    "ForeignText",
    "arms_of",
    "fields_of",
    "is_carried",
    "is_container",
    "is_object",
    "is_pydantic",
    "is_root",
    "is_structured",
    "is_typed_dict",
    "is_written_by_name",
    "left_fields_of",
    "list_item",
    "node_of",
    "plain_arms",
    "plain_type",
    "type_name",
]

CONTAINERS = (list, dict, set, frozenset, tuple)


class ForeignText(str):
    """Text that stands for a value of a class that only its model can read."""

    __slots__ = ()


class Field(Struct, frozen=True):
    """One field of an object type: `name` on the wire, `attribute` in Python."""

    name: str
    type: Any
    required: bool
    default: Any
    """The default value; `NODEFAULT` where there is none or where it is made anew each time."""
    doc: str
    attribute: str
    text_type: Any
    """What a text of it is read as, before its object is made of all of them."""


def plain_type(tp: Any) -> Any:
    """*tp* without `Annotated`, `Final`, `NewType` and `type` aliases. A type variable that nobody gave a type is what
    it is bound to, or Any."""
    while True:
        if typing.get_origin(tp) in (Annotated, typing.Final):
            tp = typing.get_args(tp)[0]
        elif isinstance(tp, typing.TypeVar):
            tp = Any if tp.__bound__ is None else tp.__bound__
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        elif type(tp).__name__ == "TypeAliasType":
            tp = tp.__value__
        else:
            return tp


def arms_of(tp: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    tp = plain_type(tp)
    return typing.get_args(tp) if typing.get_origin(tp) in (Union, types.UnionType) else (tp,)


def plain_arms(tp: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone, each without what stands around it."""
    return tuple(plain_type(arm) for arm in arms_of(tp))


def list_item(tp: Any) -> Any | None:
    """The type of a list's items, or None where *tp* is no list."""
    plain = plain_type(tp)
    origin = typing.get_origin(plain)
    is_list = isinstance(origin, type) and (issubclass(origin, list) or origin is Sequence)
    return typing.get_args(plain)[0] if is_list else None


def is_pydantic(tp: Any) -> bool:
    return isinstance(tp, type) and hasattr(tp, "model_validate") and hasattr(tp, "model_dump")


def is_root(tp: Any) -> bool:
    """Whether *tp* is a pydantic model that stands for the one value in it: it has a field, and no format writes it."""
    return is_pydantic(tp) and getattr(tp, "__pydantic_root_model__", False)


def is_typed_dict(tp: Any) -> bool:
    """Whether *tp* is a TypedDict: `typing` does not know that of `typing_extensions`, which pydantic wants before
    Python 3.12."""
    return isinstance(tp, type) and issubclass(tp, dict) and hasattr(tp, "__required_keys__")


def is_object(tp: Any) -> bool:
    """Whether *tp* is an object type with named fields of any of the five kinds."""
    cls = typing.get_origin(tp) or tp
    return isinstance(cls, type) and (
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or is_typed_dict(cls)
        or is_pydantic(cls)
    )


def is_written_by_name(tp: Any) -> bool:
    """Whether an object of *tp* is names and values in every format: arrays and root models are not."""
    return not (is_root(tp) or getattr(getattr(tp, "__struct_config__", None), "array_like", False))


def is_structured(tp: Any) -> bool:
    """Whether *tp* is an object, a list, a set, a tuple or a dict, or a union of only these (and None)."""
    arms = [arm for arm in plain_arms(tp) if arm is not type(None)]
    return bool(arms) and all(is_object(arm) or is_container(arm) for arm in arms)


def is_container(tp: Any) -> bool:
    origin = typing.get_origin(tp) or tp
    return isinstance(origin, type) and (
        issubclass(origin, CONTAINERS)
        or origin in (Sequence, Mapping, AbstractSet, Collection)
        or (origin.__module__ == "collections.abc" and origin.__name__.startswith("Mutable"))
    )


def is_carried(tp: Any) -> bool:
    """Whether *tp* is a class that passes as it is and brings its own JSON Schema, like an uploaded file."""
    return isinstance(tp, type) and hasattr(tp, "__json_schema__")


def type_name(tp: Any) -> str:
    """What a message calls *tp*."""
    return tp.__qualname__ if isinstance(tp, type) else str(tp)


@functools.cache
def node_of(tp: Any) -> inspect.Type:
    """*tp* as msgspec sees it. Raises: TypeError, NameError or AttributeError where it cannot be read."""
    return inspect.type_info(tp)


@functools.cache
def fields_of(tp: Any) -> tuple[Field, ...]:
    """The fields of an object type, in their order; empty for every other type."""
    tp = plain_type(tp)
    if not is_object(tp) or is_root(tp):
        return ()
    if is_pydantic(tp):
        return tuple(_pydantic_field(name, field) for name, field in tp.model_fields.items())
    hints = hints_of(tp)
    found: Any = node_of(tp)
    ordered = found.fields
    if is_typed_dict(typing.get_origin(tp) or tp):
        places = list(hints)  # msgspec has sorted them by name.
        ordered = sorted(ordered, key=lambda field: places.index(field.name))
    return tuple(
        Field(
            field.encode_name,
            hints[field.name],
            field.required,
            field.default,
            _doc(hints[field.name]),
            field.name,
            hints[field.name],
        )
        for field in ordered
    )


@functools.cache
def left_fields_of(tp: Any) -> tuple[Field, ...]:
    """The fields that leave: those of `fields_of`, save that a pydantic model may write other ones than it reads."""
    tp = plain_type(tp)
    if not is_pydantic(tp) or is_root(tp):
        return fields_of(tp)
    kept = [(name, field) for name, field in tp.model_fields.items() if not field.exclude]
    computed = [(name, field.alias, field.return_type) for name, field in tp.model_computed_fields.items()]
    return (
        *(
            msgspec.structs.replace(_pydantic_field(name, one), name=one.serialization_alias or name)
            for name, one in kept
        ),
        *(
            Field(alias or name, result, False, NODEFAULT, "", name, _text_type(result))
            for name, alias, result in computed
        ),
    )


def _doc(hint: Any) -> str:
    metas = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, msgspec.Meta)]
    return next((meta.description for meta in metas if meta.description), "")


def _pydantic_field(name: str, field: Any) -> Field:
    required = field.is_required()
    default = NODEFAULT if required or field.default_factory is not None else field.default
    tp = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    read_as = field.validation_alias if isinstance(field.validation_alias, str) else field.alias or name
    return Field(read_as, tp, required, default, field.description or "", name, _text_type(tp))


_READ_HERE = (str, bool, int, float, Decimal, UUID, datetime, date, time, timedelta, type(None))


def _text_type(tp: Any) -> Any:
    """*tp* with text in the place of what pydantic itself reads from it, as from JSON: its bytes are no base64, and
    secrets and URLs are classes that only it knows."""
    plain = plain_type(tp)
    arguments = typing.get_args(plain)
    if arguments and typing.get_origin(plain) is not Literal:
        read_as = tuple(map(_text_type, arguments))
        if read_as == arguments:
            return tp
        return Union[read_as] if len(arms_of(plain)) > 1 else typing.get_origin(plain)[read_as]  # noqa: UP007 (data)
    if plain is bytes:
        return str
    is_known = plain in _READ_HERE or is_object(plain) or is_container(plain) or is_carried(plain)
    return tp if is_known or not isinstance(plain, type) or issubclass(plain, Enum) else ForeignText
