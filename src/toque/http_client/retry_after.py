"""The header `Retry-After` (RFC 9110, 10.2.3): seconds, or a date."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["retry_after_s"]

DIGITS_MAX = 9
"""Thirty years: more digits need not be read."""


def retry_after_s(text: str | None, now: datetime | None = None) -> float | None:
    """How many seconds from *now* on *text* asks to wait; None where it says nothing that can be read."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= DIGITS_MAX else None
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
