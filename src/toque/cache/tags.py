"""Answers in the bytes of a format, and the tags that tell them apart."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

from msgspec import Struct

__all__ = ["Encoded", "encoded", "tag"]


class Encoded(Struct, frozen=True):
    """An answer in the bytes of its format."""

    body: bytes
    etag: str
    """A strong entity tag (RFC 9110, 8.8.3): equal if and only if the bytes are."""

    @property
    def weight(self) -> int:
        return len(self.body)


def encoded(body: bytes) -> Encoded:
    """*body* with its tag."""
    return Encoded(body, tag(body))


def tag(body: bytes) -> str:
    """The strong entity tag of *body*: 96 bits of its hash, so that among 2^32 answers two tags agree by chance in one
    of 2^33 cases."""
    return f'"{urlsafe_b64encode(blake2b(body, digest_size=12).digest()).decode()}"'
