"""Answers in memory, as encoded bytes, up to a number of bytes.

Which one goes when there is no room is decided by SIEVE (Zhang et al., NSDI 2024): new ones come in at the head, a hand
goes from the tail towards it, spares those that were asked for since it came by last, and takes the first that was not.
A hit sets one bit and moves nothing.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import Protocol

from msgspec import Struct

from toque.cache.change import Change
from toque.cache.index import Index
from toque.cache.predicates import Predicate, ReadSet

__all__ = ["Encoded", "Entries", "Weighed", "encoded", "tag"]

ENTRY_BYTES, PREDICATE_BYTES = 900, 450
"""What an entry and each of its predicates take beside the answer itself, as measured with tracemalloc on Python 3.11
(tests/cache/test_entries.py)."""

SHARE_MAX = 8
"""No entry may take more than one such part of all room: it would drive too many others out."""


class Weighed(Protocol):
    """What is kept: nobody changes it, and it knows what it takes."""

    @property
    def weight(self) -> int:
        """Its bytes."""
        ...


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


class _Entry:
    """One answer; a link of the chain from the newest to the oldest."""

    __slots__ = ("filed", "is_visited", "key", "newer", "older", "value", "weight")

    def __init__(self, key: Hashable, value: Weighed) -> None:
        self.key = key
        self.value = value
        self.filed: tuple[Predicate, ...] = ()
        self.weight = 0
        self.is_visited = False
        self.newer: _Entry | None = None
        self.older: _Entry | None = None


class Entries:
    """See `Kept` in `protocol.py`.

    Args:
        bytes_max: the room for all entries, with what they take beside their bytes.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: dict[Hashable, _Entry] = {}
        self._index: Index[_Entry] = Index()
        self._newest: _Entry | None = None
        self._oldest: _Entry | None = None
        self._hand: _Entry | None = None
        self.bytes = 0
        """The room that is taken."""
        self.evicted = 0
        """How many had to go for want of room."""
        self.dropped = 0
        """How many a change may have changed."""
        self.on_gone: Callable[[Hashable], None] | None = None
        """Told of the key of each that is not kept any more, for whatever reason."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> Weighed | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.is_visited = True
        return entry.value

    def keep(self, key: Hashable, value: Weighed, reads: Sequence[ReadSet]) -> None:
        """Keep *value*, unless it is too large; whatever has to go for it goes."""
        before = self._entries.get(key)
        if before is not None:
            self._remove(before)
        entry = _Entry(key, value)
        predicates = frozenset[Predicate]().union(*(read.predicates for read in reads))
        entry.weight = value.weight + ENTRY_BYTES + PREDICATE_BYTES * len(predicates)
        if entry.weight * SHARE_MAX > self._bytes_max:
            return
        while self.bytes + entry.weight > self._bytes_max:
            self._evict()
        entry.filed = self._index.add(entry, predicates)
        self._entries[key] = entry
        self.bytes += entry.weight
        self._link(entry)

    def grow(self, key: Hashable, value: Weighed, bytes_more: int) -> None:
        """*value*, if it is still kept, takes so many bytes more; whatever has to go for that goes, itself too."""
        entry = self._entries.get(key)
        if entry is None or entry.value is not value:
            return
        entry.weight += bytes_more
        self.bytes += bytes_more
        if entry.weight * SHARE_MAX > self._bytes_max:
            self._remove(entry)
            self.evicted += 1
        while self.bytes > self._bytes_max:
            self._evict()

    def discard(self, key: Hashable) -> None:
        """Keep what is under *key* no longer."""
        if (entry := self._entries.get(key)) is not None:
            self._remove(entry)
            self.dropped += 1

    def reads_of(self, key: Hashable) -> tuple[Predicate, ...]:
        """What the answer under *key* was found to have read."""
        entry = self._entries.get(key)
        return () if entry is None else entry.filed

    def drop(self, change: Change) -> None:
        for entry in self._index.matches(change):
            self._remove(entry)
            self.dropped += 1

    def clear(self) -> None:
        self.dropped += len(self._entries)
        gone = list(self._entries)
        self._entries.clear()
        self._index = Index()
        self._newest = self._oldest = self._hand = None
        self.bytes = 0
        if self.on_gone is not None:
            for key in gone:
                self.on_gone(key)

    def _evict(self) -> None:
        """Let the hand go on to the first entry that was not asked for, and take that."""
        hand = self._hand or self._oldest
        # Each one that is spared loses its bit, so this ends in the second round at the latest.
        while hand is not None and hand.is_visited:
            hand.is_visited = False
            hand = hand.newer or self._oldest
        assert hand is not None, "there is something to evict as long as there are bytes"
        self._hand = hand
        self._remove(hand)
        self.evicted += 1

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        self._index.remove(entry, entry.filed)
        self.bytes -= entry.weight
        self._unlink(entry)
        if self.on_gone is not None:
            self.on_gone(entry.key)

    def _link(self, entry: _Entry) -> None:
        entry.older, self._newest = self._newest, entry
        if entry.older is None:
            self._oldest = entry
        else:
            entry.older.newer = entry

    def _unlink(self, entry: _Entry) -> None:
        if self._hand is entry:
            self._hand = entry.newer
        if entry.older is None:
            self._oldest = entry.newer
        else:
            entry.older.newer = entry.newer
        if entry.newer is None:
            self._newest = entry.older
        else:
            entry.newer.older = entry.older
        entry.newer = entry.older = None
