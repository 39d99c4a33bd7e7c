"""Python code as those look at it who follow what an operation names: its parts, and whose it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["codes_of", "enclosed_by", "is_library", "is_of_library"]


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
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
