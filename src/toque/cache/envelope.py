"""What a kept answer is when it leaves its process: everything that whoever takes it over must know, sealed.

Its key is made of what only those who may read the database know: the name of its log of changes, with the random
number of that log's generation. So whoever has the server that keeps it, but not the database, can neither read an
answer nor forge one, and one from before a crash, a restored backup or a change of the schema cannot even be opened.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from toque.cache.knowledge import FactName, Key
from toque.cache.predicates import Predicate, ReadSet
from toque.cache.snapshot import Snapshot

__all__ = ["Envelope", "Packed"]

FORM = 1
"""Of `Packed`: who knows another one finds other names."""

SALT_BYTES = 16


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """One kept answer, and what it holds for."""

    epoch: str
    snapshot: Snapshot
    """What its process had applied when it was packed: nothing in it that overlaps *reads* is missing in *body*."""
    reads: list[tuple[str, tuple[str, ...], tuple[int | str | None, ...]]]
    is_personal: bool
    packed_at: int
    """Seconds since 1970; nothing is decided by it but when to pack it again."""
    body: bytes

    @property
    def read_set(self) -> ReadSet:
        return ReadSet(Predicate(*read) for read in self.reads)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Packed).decode
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Envelope:
    """Seals for those who follow one log and run one release.

    Args:
        place: the log's full name.
        release: the code that answers; that of another release may answer otherwise.
    """

    def __init__(self, place: str, release: str) -> None:
        person = f"toque shared {FORM}".encode()
        self._secret = blake2b(place.encode(), person=person, digest_size=32).digest()
        self._release = release

    def name(self, key: Key, facts: Sequence[FactName]) -> str:
        """What an answer is called that is kept under *key*; from the name nobody can tell who asked for what.

        Args:
            facts: what the key tells about the caller, in its order, which is another one in each process.
        """
        operation, inputs, count, values = key
        if count < 0:
            assert isinstance(values, tuple)
            kind, caller = values
            told: object = [f"{kind.__module__}.{kind.__qualname__}", caller]
        elif count:
            assert isinstance(values, bytes)
            told = sorted(
                [[about, *names], bytes(raw)] for (about, names), raw in zip(facts, _parts(values), strict=True)
            )
        else:
            told = None
        digest = blake2b(_encode([self._release, operation, inputs, count, told]), key=self._secret, digest_size=18)
        return f"toque:{urlsafe_b64encode(digest.digest()).decode()}"

    def seal(self, name: str, packed: Packed) -> bytes:
        """*packed*, for whoever opens it under *name*. Raises: TypeError, OverflowError where it cannot be packed."""
        # A key of its own for each, so that no two are sealed with the same key and nonce (NIST SP 800-38D, 8).
        salt = os.urandom(SALT_BYTES)
        return salt + self._cipher(salt).encrypt(_NONCE, _encode(packed), name.encode())

    def open(self, name: str, sealed: bytes) -> Packed | None:
        """What was sealed under *name*; None where that was not sealed for us, or is not what was sealed."""
        try:
            salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
            return _decode(self._cipher(salt).decrypt(_NONCE, rest, name.encode()))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(blake2b(salt, key=self._secret, digest_size=32).digest())


_NONCE = bytes(12)
