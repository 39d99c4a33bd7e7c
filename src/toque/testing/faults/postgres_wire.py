"""Which bytes on their way to PostgreSQL carry a COMMIT of something that may have been written.

Source: PostgreSQL's manual, 55.7 "Message Formats". The first message has no type (StartupMessage); each later one is a
byte for its type, four for its length (which counts itself), and its body.
"""

from __future__ import annotations

import re

__all__ = ["CommitFinder"]

_BEGIN = re.compile(rb"(^|;\s*)(BEGIN|START TRANSACTION)\b([^;]*)", re.IGNORECASE)
_COMMIT = re.compile(rb"(^|[;\s])COMMIT\b", re.IGNORECASE)


class CommitFinder:
    """Looks through what one client sends, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_begun = False
        self._committing: set[bytes] = set()
        """The prepared statements that are a COMMIT."""
        self._is_reading = False
        """Whether the transaction is a read-only one: a driver that asks about types has some of its own."""

    def __call__(self, data: bytes) -> bool:
        """Whether a COMMIT is complete with *data*, which follows what was seen before."""
        self._rest += data
        # Every message is looked at, also after one was found.
        return sum(self._is_commit(kind, body) for kind, body in self._messages()) > 0

    def _messages(self) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        while True:
            head = 1 if self._has_begun else 0
            if len(self._rest) < head + 4:
                return found
            end = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < end:
                return found
            found.append((self._rest[:head], self._rest[head + 4 : end]))
            self._rest = self._rest[end:]
            self._has_begun = self._has_begun or not _is_question(found[-1][1])

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        if kind == b"Q":
            if begin := _BEGIN.search(body):
                self._is_reading = b"READ ONLY" in begin[3].upper()
            return _COMMIT.search(body) is not None and not self._is_reading
        if kind == b"P":  # Parse: the statement's name, its text.
            name, text = body.split(b"\x00")[:2]
            (self._committing.add if _COMMIT.match(text) else self._committing.discard)(name)
        # Bind: the portal's name, the statement's. What is bound is executed.
        return kind == b"B" and body.split(b"\x00")[1] in self._committing


def _is_question(body: bytes) -> bool:
    """SSLRequest or GSSENCRequest: the StartupMessage is still to come, on the same connection."""
    return body in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
