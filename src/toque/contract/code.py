"""Python code as those look at it who follow what an operation names: its parts, and whose it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any, TypeVar

__all__ = ["TooMuch", "codes_of", "enclosed_by", "is_library", "is_of_library", "reached"]

T = TypeVar("T")

LOOKED_AT_MAX = 2_000
"""Values that are looked at for one operation: one that names more than this few people would read through."""


class TooMuch(Exception):
    """More is named than is looked through."""

    def __init__(self) -> None:
        super().__init__("it names too much to be looked through")


def reached(
    roots: Iterable[T],
    within: Callable[[T], Iterable[T]],
    looked_at_max: int = LOOKED_AT_MAX,
    *,
    value_of: Callable[[T], Any] = lambda each: each,
) -> Iterator[T]:
    """*roots* and what is *within* each in turn, every value once. Raises: TooMuch."""
    seen: dict[int, Any] = {}  # With the values, so that no identity is given to another.
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        value = value_of(each)
        if id(value) in seen:
            continue
        if len(seen) >= looked_at_max:
            raise TooMuch
        seen[id(value)] = value
        yield each
        waiting += within(each)


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """*code*, and that of all functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


def enclosed_by(function: FunctionType) -> Iterator[Any]:
    """The values of the names around *function* that it uses, without those that have none yet."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # Empty: a name that is given its value later.
            continue


def is_of_library(thing: Any) -> bool:
    """Whether a class or function comes from Python, Toque or an installed package: none of them knows the app."""
    return is_library(getattr(thing, "__module__", None) or "")


def is_library(module: str) -> bool:
    """Whether the module of this name is Python's, Toque's or an installed package's."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "toque":
        return True
    # A namespace package has no file of its own, and one made while it runs may have none either.
    files = (getattr(sys.modules.get(name), "__file__", None) for name in (module, top))
    file = next(filter(None, files), "")
    return "site-packages" in file or "dist-packages" in file
