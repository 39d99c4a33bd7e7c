"""How deep a body may be nested, where its type sets no end to that itself.

The parsers have a limit of their own, in C. What an app does with a value afterwards, and what narrows it on its
way out, recurses in Python, which has far less room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["DEPTH_MAX", "refuse_deep", "shallow_json"]

DEPTH_MAX = 100
"""Levels of objects and lists. Documents that people write stay below 10; each level takes up to four of the
thousand frames that Python has, on the way in and out."""


def refuse_deep(value: Any) -> None:
    """Refuse *value*, plain values, where it has more than DEPTH_MAX levels. Level by level, not by recursion."""
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [part for held in level for part in _parts(held)]
        if not level:
            return
    if any(isinstance(held, dict | list) for held in level):
        raise msgspec.DecodeError(f"nested deeper than {DEPTH_MAX} levels")


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def shallow_json(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """*decode*, for bodies of JSON that are not nested too deeply. Those with fewer brackets than that are not looked
    at."""

    def shallow(data: bytes) -> Any:
        if data.count(b"{") + data.count(b"[") > DEPTH_MAX:
            refuse_deep(msgspec.json.decode(data))
        return decode(data)

    return shallow
