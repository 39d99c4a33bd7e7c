"""All that lies inside a type, as msgspec sees it, and whether all of it can travel."""

from __future__ import annotations

import dataclasses
import functools
import graphlib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from toque.contract.schema import fields_of, is_carried, is_pydantic, is_root, node_of, type_name

__all__ = ["holds", "holds_carried", "is_endless", "model_members", "nodes_of", "unfillable", "unserialisable"]


@functools.cache
def nodes_of(tp: Any, *, in_models: bool = False) -> tuple[inspect.Type, ...]:
    """Every type that a value of *tp* may hold, as msgspec sees it, each object type once.

    To msgspec a pydantic model is one closed thing; *in_models* also looks at its fields.
    """
    found: list[inspect.Type] = []
    seen: set[int] = set()
    waiting: list[inspect.Type] = [node_of(tp)]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append(node)
        waiting.extend(_children(node))
        if in_models and isinstance(node, inspect.CustomType):
            waiting.extend(inner for _, inner in model_members(node.cls))
    return tuple(found)


@functools.cache
def model_members(cls: Any) -> tuple[tuple[str, inspect.Type], ...]:
    """The fields of a pydantic model as msgspec would see them; of what it cannot read it says nothing. That of a root
    model has no name."""
    if is_root(cls):
        return (("", _readable(cls.model_fields["root"].annotation)),)
    return tuple((field.name, _readable(field.type)) for field in fields_of(cls)) if is_pydantic(cls) else ()


def _readable(tp: Any) -> inspect.Type:
    try:
        return inspect.type_info(tp)
    except TypeError:
        return inspect.AnyType()


def _children(node: inspect.Type) -> Iterator[inspect.Type]:
    for name in node.__struct_fields__:
        value = getattr(node, name)
        for item in value if isinstance(value, tuple) else (value,):
            inner = item.type if isinstance(item, inspect.Field) else item
            if isinstance(inner, inspect.Type):
                yield inner


def holds(tp: Any, *kinds: type) -> bool:
    """Whether a value of *tp* may hold one of *kinds*: node types of `msgspec.inspect`, or classes."""
    return any(isinstance(node, kinds) or getattr(node, "cls", None) in kinds for node in nodes_of(tp))


def holds_carried(tp: Any) -> bool:
    """Whether a value of *tp* may hold one that is carried as it is, like an uploaded file."""
    return any(is_carried(getattr(node, "cls", None)) for node in nodes_of(tp))


@functools.cache
def is_endless(tp: Any) -> bool:
    """Whether a value of *tp* may be nested as deep as one likes: *tp* holds itself, or anything."""
    held = {id(node): [id(part) for part in _children(node)] for node in nodes_of(tp)}
    try:
        graphlib.TopologicalSorter(held).prepare()
    except graphlib.CycleError:
        return True
    return holds(tp, inspect.AnyType)


_MEND_LIMITS = "Meta limits int, float, text and lists: compare others in __post_init__, and raise ValueError there"


def unserialisable(tp: Any, *, is_stored: bool = False) -> str | None:
    """Why *tp* can be neither an input nor an output, with what to do, or None where it can.

    Args:
        is_stored: whether it is written in one format alone, JSON, as a job's inputs are.
    """
    try:
        classes = [cls for node in nodes_of(tp) if isinstance(cls := getattr(node, "cls", None), type)]
        customs = [node.cls for node in nodes_of(tp) if isinstance(node, inspect.CustomType)]
        msgspec.json.Decoder(tp)
    except (TypeError, NameError, AttributeError) as error:
        remedy = _MEND_LIMITS if "Can only set" in str(error) else "mend its annotation"
        return f"{type_name(tp)} is not a type that can be read: {error}; {remedy}"
    for cls in classes:
        if hasattr(cls, "__mapper__"):
            return (
                f"{type_name(cls)} is a database model, and a model neither enters nor leaves; "
                f"declare a Struct of the fields that may (class {cls.__name__}View(Struct): ...)"
            )
        for field in getattr(cls, "__attrs_attrs__", ()):
            if field.name.startswith("_"):
                return (
                    f"{type_name(cls)}.{field.name} is private: msgspec reads such a field of an attrs class under that"
                    f" name and never writes it; call it {field.name.lstrip('_')}, or declare a Struct of what travels"
                )
    if not is_stored and holds(tp, inspect.RawType):
        return f"{type_name(tp)} holds a msgspec.Raw, which is the bytes of one format; take Any in its place"
    for cls in customs:
        if not is_pydantic(cls) and not is_carried(cls):
            return (
                f"no format carries {type_name(cls)}; declare a Struct, dataclass, attrs class, TypedDict or "
                "pydantic model with the fields that travel" + (", or Any" if cls is object else "")
            )
    return None


def unfillable(tp: Any) -> str | None:
    """Why no caller may fill a *tp*, with what to do, or None where one may."""
    for node in nodes_of(tp):
        if isinstance(node, inspect.DataclassType):
            fields: Any = getattr(node.cls, "__attrs_attrs__", None) or dataclasses.fields(node.cls)
            kept = [f"{type_name(node.cls)}.{field.name}" for field in fields if not field.init]
            if kept:
                return (
                    f"{', '.join(kept)} is not for who makes one (init=False), and msgspec lets a caller set it; "
                    "declare an input without it"
                )
    return None
