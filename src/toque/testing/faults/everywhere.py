"""Putting another function in the place of one, wherever a loaded module has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["replace"]


def replace(original: Callable[..., Any], other: Callable[..., Any]) -> int:
    """Let every name of every module that means *original* mean *other*; returns how many did.

    Out of reach: what holds the function itself, such as a default argument, a closure, an instance or C code.
    """
    found = [
        (module, name)
        for module in [*sys.modules.values()]
        for name, value in [*getattr(module, "__dict__", {}).items()]
        if value is original
    ]
    for module, name in found:
        setattr(module, name, other)
    return len(found)
