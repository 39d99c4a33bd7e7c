"""Conditional requests and byte ranges: what a request asks of a representation that has validators.

Source: RFC 9110, sections 8.8 (validators), 13 (conditions; 13.2.2 for their order) and 14 (ranges).
"""

from __future__ import annotations

import re
from datetime import UTC
from time import time
from typing import Any

__all__ = ["Unsatisfiable", "http_date", "precondition", "wanted_range"]

_ETAG = re.compile(r'(W/)?("[^"]*")')
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)
"""One range. 18 digits are an exabyte, and always fit into 64 bits."""


class Unsatisfiable(Exception):
    """The range asked for lies outside the content."""


def http_date(seconds: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7)."""
    from email.utils import formatdate

    return formatdate(seconds, usegmt=True)


def precondition(headers: Any, etag: str, modified_s: int | None = None) -> int | None:
    """The status that ends a GET or HEAD with *headers* before anything is sent: 412, 304, or None to go on.

    Args:
        etag: the strong validator of what would be sent.
        modified_s: when that last changed, in seconds since 1970; None where it is not known.
    """
    if wanted := _listed(headers, "if-match"):
        if not _matches(wanted, etag, is_strong=True):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and _is_later(modified_s, since):
        return 412
    if known := _listed(headers, "if-none-match"):
        return 304 if _matches(known, etag, is_strong=False) else None
    since = _date(headers.get("if-modified-since"))
    if since is not None and modified_s is not None and not _is_later(modified_s, since):
        return 304
    return None


def wanted_range(headers: Any, size: int, etag: str, modified_s: int) -> tuple[int, int] | None:
    """The part of *size* bytes that is asked for: its start and the end after its last byte; None for all.

    Several ranges, other units and what is not understood mean all of it (14.2), as does an `If-Range` that
    names another version.

    Raises: Unsatisfiable where the part lies outside.
    """
    asked = _RANGE.fullmatch(headers.get("range") or "")
    if asked is None or not _is_same_version(headers.get("if-range"), etag, modified_s):
        return None
    first, last = asked.groups()
    if not first:
        return _suffix(last, size)
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, end


def _suffix(length: str, size: int) -> tuple[int, int] | None:
    # Nothing has no last bytes, and no Content-Range could say so; `-0` asks for nothing and is refused.
    if not length or (size == 0 and int(length)):
        return None
    if int(length) == 0:
        raise Unsatisfiable
    return max(size - int(length), 0), size


def _listed(headers: Any, name: str) -> str:
    return ",".join(headers.get_all(name))


def _matches(listed: str, etag: str, *, is_strong: bool) -> bool:
    if listed.strip() == "*":
        return True
    return any(tag == etag and not (weak and is_strong) for weak, tag in _ETAG.findall(listed))


def _is_same_version(if_range: str | None, etag: str, modified_s: int) -> bool:
    if if_range is None:
        return True
    if '"' in if_range:
        return if_range.strip() == etag
    # A date tells versions apart only once its second has passed (8.8.2.2).
    return _date(if_range) == modified_s and time() - modified_s > 1


def _is_later(modified_s: int | None, since: int) -> bool:
    return modified_s is not None and modified_s > since


def _date(text: str | None) -> int | None:
    """Seconds since 1970 of a date in any form of RFC 9110, 5.6.7; None where it is none of them."""
    if not text or len(text) > 40:
        return None
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
