"""What a view asks of a row: its fields, and the call that makes one view from one row's values.

A view is a msgspec Struct, a dataclass, an attrs class, a TypedDict or a pydantic model; any other type is a
scalar, made from one column. Everything here happens once per statement shape, never per row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from functools import cache, partial
from itertools import starmap
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from toque.contract.hints import hints_of
from toque.contract.schema import is_typed_dict

__all__ = ["Field", "View", "nested_view", "view_of"]


class Field(Struct, frozen=True):
    """One value that a view wants: the name of its column or relationship, and the type it is declared
    with."""

    name: str
    type: Any


class View(Struct, frozen=True):
    """A view's fields, and `build`, which turns rows (values in the fields' order) into views."""

    name: str
    fields: tuple[Field, ...]
    build: Callable[[Iterable[Sequence[Any]]], list[Any]]
    is_scalar: bool = False


@cache
def view_of(view: Any) -> View:
    """The shape of *view*; a type without fields is a scalar."""
    kind = get_origin(view) or view
    if not isinstance(kind, type) or kind is UnionType:
        return _scalar(view)
    if is_typed_dict(kind):
        return _mapping(view, hints_of(view), dict)
    if hasattr(kind, "model_validate"):
        return _pydantic(kind)
    if issubclass(kind, msgspec.Struct):
        return _called(view, {field.name: field.type for field in msgspec.structs.fields(view)})
    if is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return _called(view, hints_of(view))
    return _scalar(view)


def nested_view(annotation: Any) -> tuple[Any, bool] | None:
    """The view inside `V`, `V | None` or `list[V]`, and whether it is a list; None when there is no view
    inside."""
    if get_origin(annotation) in (list, tuple, Sequence):
        members = [arg for arg in get_args(annotation) if arg is not ...]
        is_list = True
    else:
        is_union = get_origin(annotation) in (Union, UnionType)
        members = [arg for arg in get_args(annotation) if arg is not type(None)] if is_union else [annotation]
        is_list = False
    if len(members) != 1 or view_of(members[0]).is_scalar:
        return None
    return members[0], is_list


def _scalar(view: Any) -> View:
    name = getattr(view, "__name__", repr(view))
    return View(name, (Field("value", view),), lambda rows: [row[0] for row in rows], is_scalar=True)


def _called(view: Any, hints: dict[str, Any]) -> View:
    """A class whose constructor takes its fields, by position where it can: `T(*row)` is the fastest way
    there is."""
    kind = get_origin(view) or view
    parameters = inspect.signature(kind).parameters.values()
    # attrs takes the private field `_x` as the argument `x`.
    fields = {p.name: p.name if p.name in hints else f"_{p.name}" for p in parameters}
    wanted = tuple(Field(fields[p.name], hints[fields[p.name]]) for p in parameters)
    if all(p.kind is not p.KEYWORD_ONLY for p in parameters):
        return View(kind.__name__, wanted, lambda rows: list(starmap(kind, rows)))
    names = tuple(fields)
    return View(kind.__name__, wanted, lambda rows: [kind(**dict(zip(names, row, strict=True))) for row in rows])


def _mapping(view: Any, hints: dict[str, Any], make: Callable[[dict[str, Any]], Any]) -> View:
    names = tuple(hints)
    return View(
        getattr(view, "__name__", repr(view)),
        tuple(Field(name, hint) for name, hint in hints.items()),
        lambda rows: [make(dict(zip(names, row, strict=True))) for row in rows],
    )


def _pydantic(kind: Any) -> View:
    # Columns are matched by field name; an alias belongs to the wire.
    hints = {name: field.annotation for name, field in kind.model_fields.items()}
    return _mapping(kind, hints, partial(kind.model_validate, by_name=True, by_alias=False))
