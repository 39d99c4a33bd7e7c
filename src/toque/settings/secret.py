"""Text that is used and never shown."""

from __future__ import annotations

__all__ = ["Secret"]

MASK = "****"


class Secret(str):
    """A password, a key, an address that holds one: a str where it is used, `****` where it is printed.

    `repr`, `str`, `%s` and f-strings show the mask, and no format encodes it. `reveal()` takes the text out,
    visibly. It can be pickled, because a server hands its settings to its workers.
    """

    __slots__ = ()

    def reveal(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return MASK if self else "''"

    def __str__(self) -> str:
        return MASK if self else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
