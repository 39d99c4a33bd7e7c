"""The idempotency key: what a caller names one call by, so that trying it again does nothing twice.

Source: draft-ietf-httpapi-idempotency-key-header-07, section 2: the header is a string of RFC 9651 (3.3.3), so in
quotes. Keys without quotes, as most clients send them, are taken too.
"""

from __future__ import annotations

import re

from toque.contract.errors import BadRequest

__all__ = ["KEY_LENGTH_MAX", "read_key"]

KEY_LENGTH_MAX = 255
"""Characters of a key: Stripe's limit, which its clients and everybody's SDKs keep to; a UUID has 36."""

_ESCAPED = re.compile(r'\\(["\\])')


def read_key(text: object) -> str:
    """The key in *text*. Raises: BadRequest where it is none."""
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise BadRequest("an idempotency key is printable ASCII text, a UUID say")
    key = text.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = _ESCAPED.sub(r"\1", key[1:-1])
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        raise BadRequest(f"an idempotency key has 1 to {KEY_LENGTH_MAX} characters, received {len(key)}")
    return key
