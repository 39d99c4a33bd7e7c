"""The names of an image's columns, as the log keeps them beside its values."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["column_list"]


def column_list(names: Iterable[str]) -> str:
    """A JSON array of *names*."""
    return msgspec.json.encode(list(names)).decode()
