"""One checksum for the same rows, whatever database keeps them and in whatever order they come.

Two databases sort text differently, so the checksum of a table is the sum of its rows' hashes. It finds what a
copy lost or bent; it is no defence against somebody who forges rows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

__all__ = ["Checksum", "Document", "canonical"]

# 128 bits: rows by the billion meet by accident with a chance of 1e-20.
DIGEST_BYTES = 16


class Document(str):
    """The text of a JSON document. Equal documents may be written differently: JSONB sorts keys."""

    __slots__ = ()


class Checksum:
    """How many rows there were, and the sum of their hashes."""

    __slots__ = ("rows", "total")

    def __init__(self) -> None:
        self.rows = 0
        self.total = 0

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        for row in rows:
            digest = blake2b(digest_size=DIGEST_BYTES)
            for value in row:
                form = canonical(value)
                digest.update(len(form).to_bytes(8, "big"))
                digest.update(form)
            self.total = (self.total + int.from_bytes(digest.digest(), "big")) % (1 << 8 * DIGEST_BYTES)
            self.rows += 1

    def is_like(self, other: Checksum) -> bool:
        return (self.rows, self.total) == (other.rows, other.total)

    def __str__(self) -> str:
        return f"{self.rows}:{self.total:032x}"


def canonical(value: Any) -> bytes:
    """The same bytes for what an app takes for the same value: 1.50 is 1.5, and noon in Oslo is eleven in UTC."""
    for kind, write in _FORMS:
        if isinstance(value, kind):
            return write(value)
    return b"?" + repr(value).encode()


def _number(value: Decimal) -> bytes:
    # `normalize` would round to the context's 28 digits.
    text = format(value, "f")
    return b"m" + (text.rstrip("0").rstrip(".") if "." in text else text).encode()


def _instant(value: datetime) -> bytes:
    return b"@" + (value if value.tzinfo is None else value.astimezone(UTC)).isoformat().encode()


def _document(text: Document) -> bytes:
    return _nested(msgspec.json.decode(str(text)))


def _nested(value: Any) -> bytes:
    return b"j" + msgspec.json.encode(_plain(value), order="sorted")


def _plain(value: Any) -> Any:
    """*value* as JSONB gives it back, which keeps a number's value and not how it was written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sorted(value: Iterable[Any]) -> bytes:
    return b"{" + b",".join(sorted(map(canonical, value)))


_FORMS: tuple[tuple[Any, Callable[[Any], bytes]], ...] = (
    (type(None), lambda _: b"n"),
    (bool, lambda value: b"t" if value else b"f"),
    (enum.Enum, lambda value: b"e" + value.name.encode()),
    (Document, _document),
    (str, lambda value: b"s" + value.encode("utf-8", "surrogatepass")),
    (int, lambda value: b"i%d" % value),
    (float, lambda value: b"d" + repr(value).encode()),
    (Decimal, _number),
    (UUID, lambda value: b"u" + value.bytes),
    (datetime, _instant),
    (date, lambda value: b"a" + value.isoformat().encode()),
    (time, lambda value: b"c" + value.isoformat().encode()),
    (timedelta, lambda value: b"l%d" % (value // timedelta(microseconds=1))),
    ((bytes, bytearray, memoryview), lambda value: b"b" + bytes(value)),
    ((set, frozenset), _sorted),
    ((list, tuple, Mapping), _nested),
)
"""Special kinds stand before the general ones: a bool is an int, a datetime is a date."""
