"""What a transaction changed, as the cache hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from msgspec import Struct

__all__ = ["ANY_TABLE", "Change", "Image", "Overlapping", "Scalar"]

Scalar: TypeAlias = "int | str | None"
"""A value in its canonical form: two are equal here if and only if the database holds them equal (`keys.py`)."""

Image: TypeAlias = Mapping[str, Scalar]
"""The key columns of one row, as it was or as it became."""

ANY_TABLE = "*"
"""As a change's table: the schema changed, so that nothing is known any more."""


class Change(Struct, frozen=True):
    """The rows of one table that one statement changed."""

    table: str
    images: tuple[Image, ...] | None
    """Each row as it was and as it became; None where they were too many to tell, so that it may be any."""
    number: int = 0
    """The transaction that made it; on SQLite nobody asks."""


class Overlapping(Protocol):
    """What a query has read, as far as the protocol asks."""

    def overlaps(self, change: Change) -> bool:
        """Whether *change* may have changed what was read; yes in doubt."""
        ...
