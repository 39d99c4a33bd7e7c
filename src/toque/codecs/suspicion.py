"""Which bodies are looked at twice: the few that could hold what `key_guard` refuses.

Text that only looks so costs a second reading and nothing else, so the test may be rough but must miss
nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toque.contract.guard import COLLIDING_KEYS_MAX, may_crowd

__all__ = ["suspicion"]

# Text that Decimal reads as wild: NaN, infinity, an exponent of four digits, or thousands of digits.
# Decimal ignores case and underscores everywhere and takes the digits of every script, and JSON may escape
# any letter. So letters become small, underscores go, and signs, digits, backslashes and what is not ASCII
# all become a 9. Substring search over that is 8 times as fast as the regular expression that says the
# same.
_NINES = bytes(0x39 if byte >= 0x80 or chr(byte) in "0123456789+-\\" else ord(chr(byte).lower()) for byte in range(256))
_DIGITS = b"9" * 2_000


def suspicion(tp: Any) -> Callable[[bytes], bool]:
    """Whether a body of *tp*, in text or in MessagePack, whose text is plain bytes, deserves a second
    look."""
    is_crowdable = may_crowd(tp)

    def is_suspect(data: bytes) -> bool:
        # Every key takes two bytes at least.
        if is_crowdable and len(data) >= 2 * COLLIDING_KEYS_MAX:
            return True
        plain = data.translate(_NINES, b"_")
        return b"nan" in plain or b"inf" in plain or b"e9999" in plain or b"9u99" in plain or _DIGITS in plain

    return is_suspect
