"""Which bodies are looked at twice: the few that could hold what `schema.key_guard` refuses.

Text that only looks so costs a second reading and nothing else, so the test may be rough but must miss
nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from toque.contract import schema

__all__ = ["suspicion"]

# Text that Decimal reads as wild: NaN, infinity, an exponent of four digits or 2 000 digits in a row.
# Decimal ignores underscores everywhere and takes the digits of every script, and JSON may escape any
# letter; hence the wide classes.
_WILD_DECIMAL = re.compile(
    rb"[nN]_*[aA]_*[nN]|[iI]_*[nN]_*[fF]|[eE][+_\-\d\\\x80-\xff]{4}|\\u00|[\d_\x80-\xff]{2000}"
)


def suspicion(tp: Any) -> Callable[[bytes], bool]:
    """Whether a body of *tp* in text, or in MessagePack, whose text is plain bytes, deserves a second
    look."""

    # Every key needs a comma or at least one byte before it.
    def crowded(data: bytes) -> bool:
        return len(data) >= 2 * schema.COLLIDING_KEYS_MAX

    def wild(data: bytes) -> bool:
        return _WILD_DECIMAL.search(data) is not None

    if not schema.may_crowd(tp):
        return wild
    return lambda data: crowded(data) or wild(data)
