"""How a stream of items looks in a format: what stands before, between and after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

__all__ = ["StreamEncoder"]


class StreamEncoder(Struct, frozen=True):
    """`head`, then each item's bytes with `separator` between two of them, then `tail`."""

    item: Callable[[Any], bytes]
    head: bytes = b""
    separator: bytes = b""
    tail: bytes = b""
    is_compressible: bool = True
    """Whether compressing helps: not what is compressed already, nor what has to pass others item by item."""
