"""Answers in memory, as encoded bytes, up to a number of bytes.

Which one goes when there is no room is decided by SIEVE (Zhang et al., NSDI 2024): new ones come in at the head, a hand
goes from the tail towards it, spares those that were asked for since it came by last, and takes the first that was not.
A hit sets one bit and moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from toque.cache.change import Change
from toque.cache.index import Index
from toque.cache.predicates import Predicate, ReadSet

__all__ = ["Entries", "Weighed"]

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
        self._held: set[Hashable] = set()
        self.bytes = 0
        """The room that is taken."""
        self.held_bytes = 0
        """What those take that somebody holds, beside that room."""
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
        if key not in self._held and not self._make_room(entry):
            return
        entry.filed = self._index.add(entry, predicates)
        self._entries[key] = entry
        self._count(entry)

    def hold(self, key: Hashable) -> None:
        """From now on, what is under *key* goes for no want of room: whoever holds it has made room of his own."""
        entry = self._entries.get(key)
        if entry is not None and key not in self._held:
            self._uncount(entry)
        self._held.add(key)
        if entry is not None:
            self._count(entry)

    def release(self, key: Hashable) -> None:
        """It is one of the others again, if there is room for it."""
        entry = self._entries.get(key)
        if entry is not None and key in self._held:
            self._uncount(entry)
        self._held.discard(key)
        if entry is None:
            return
        if self._make_room(entry):
            self._count(entry)
        else:
            self._forget(entry)

    def grow(self, key: Hashable, value: Weighed, bytes_more: int) -> None:
        """*value*, if it is still kept, takes so many bytes more; whatever has to go for that goes, itself too."""
        entry = self._entries.get(key)
        if entry is None or entry.value is not value:
            return
        entry.weight += bytes_more
        if key in self._held:
            self.held_bytes += bytes_more
            return
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
        self.bytes = self.held_bytes = 0
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

    def _make_room(self, entry: _Entry) -> bool:
        """Evict what has to go for *entry*; False where it would drive too many out."""
        if entry.weight * SHARE_MAX > self._bytes_max:
            return False
        while self.bytes + entry.weight > self._bytes_max:
            self._evict()
        return True

    def _count(self, entry: _Entry) -> None:
        """Take the room of *entry*; what nobody holds may be evicted from now on."""
        if entry.key in self._held:
            self.held_bytes += entry.weight
        else:
            self.bytes += entry.weight
            self._link(entry)

    def _uncount(self, entry: _Entry) -> None:
        if entry.key in self._held:
            self.held_bytes -= entry.weight
        else:
            self.bytes -= entry.weight
            self._unlink(entry)

    def _remove(self, entry: _Entry) -> None:
        self._uncount(entry)
        self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        self._index.remove(entry, entry.filed)
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
