"""The types of a class's fields, as it and its bases say them, with what is known in the place of type variables."""

from __future__ import annotations

import functools
import typing
from typing import Any

__all__ = ["hints_of"]


@functools.cache
def hints_of(tp: Any) -> dict[str, Any]:
    """The fields of the class *tp* by name, without a TypedDict's marks: no value has these.

    A generic class may get its arguments where it is used, `Page[Dish]`, or where it is a base,
    `class DishPage(Page[Dish])`. A variable that nobody gave a type stays.
    """
    return {name: _unmarked(hint) for name, hint in _hints(tp).items()}


def _unmarked(hint: Any) -> Any:
    while typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        hint = typing.get_args(hint)[0]
    return hint


def _hints(tp: Any) -> dict[str, Any]:
    cls = typing.get_origin(tp) or tp
    said = typing.get_type_hints(cls, include_extras=True)
    if not any(map(_variables, said.values())):
        return said
    hints = dict(said)
    for base in reversed(vars(cls).get("__orig_bases__", cls.__bases__)):
        hints |= {name: hint for name, hint in _inherited(base).items() if said[name] == _said(base)[name]}
    known = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(tp), strict=False))
    return {name: _substituted(hint, known) for name, hint in hints.items()}


def _inherited(base: Any) -> dict[str, Any]:
    # TypedDict and NamedTuple stand among the bases as functions.
    return _hints(base) if isinstance(typing.get_origin(base) or base, type) else {}


def _said(base: Any) -> dict[str, Any]:
    return typing.get_type_hints(typing.get_origin(base) or base, include_extras=True)


def _variables(hint: Any) -> tuple[Any, ...]:
    if isinstance(hint, typing.TypeVar):
        return (hint,)
    return () if isinstance(hint, type) else getattr(hint, "__parameters__", ())


def _substituted(hint: Any, known: dict[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, hint)
    free = _variables(hint)
    return hint[tuple(known.get(one, one) for one in free)] if free else hint
