"""Text that is used and never shown."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]

MASK = "****"


class Secret(str):
    """A password, a key, an address that holds one: a str where it is used, `****` where it is printed.

    `repr`, `str`, `%s` and f-strings show the mask; no format encodes it and no pickle keeps it. `reveal()`
    takes the text out, visibly.
    """

    __slots__ = ()

    def reveal(self) -> str:
        return "".join(self)

    def __repr__(self) -> str:
        return MASK if self else "''"

    def __str__(self) -> str:
        return MASK if self else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; hand over the place it comes from instead")
