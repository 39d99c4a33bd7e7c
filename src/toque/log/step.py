"""One step of the layout of Toque's own tables."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Step"]


class Step(Struct, frozen=True):
    """Statements that are run once, in one transaction. A step that was released is never changed: a next one is."""

    name: str
    postgresql: tuple[str, ...]
    sqlite: tuple[str, ...]
