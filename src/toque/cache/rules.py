"""The rules of the protocol, each a function. Without any one of them an answer can break a promise, and
`tests/cache/test_rules.py` shows it for each.

The letters are those of the argument in decision 0027.
"""

from __future__ import annotations

from toque.cache.snapshot import Snapshot, Token

__all__ = [
    "covers",
    "has_the_epoch",
    "holds_for",
    "is_after",
    "is_for_others",
    "is_fresh",
    "may_keep",
    "must_flush",
    "next_look",
    "reaches",
    "reaches_back",
    "starts_at",
]


def is_fresh(as_of: float, now: float, bound_s: float) -> bool:
    """(f) Whether what is known as of then misses nothing that was acknowledged more than *bound_s* ago.

    Asked with the clock at the moment of serving, never told by a timer: a process that was stopped finds out so.
    """
    return now - as_of <= bound_s


def next_look(started: int) -> int:
    """(d) The look that a request which may miss nothing waits for: one that *starts* from now on. One that is under
    way may have taken its snapshot already."""
    return started + 1


def covers(seen: Snapshot | None, epoch: str, token: Token) -> bool:
    """(e) Whether what was applied includes the caller's own commit. Numbers of another epoch mean nothing here."""
    return seen is not None and token.epoch == epoch and seen.sees(token.number)


def starts_at(position: int) -> int:
    """(c) Where a flight's watch begins: at what was applied *before* its snapshot is taken, so that no commit lies
    between the two unwatched."""
    return position


def reaches(low: int, position: int) -> bool:
    """(c) Whether the ring still knows all that was applied after *position*."""
    return position >= low


def may_keep(broken_at: int | None, is_lasting: bool) -> bool:
    """(c) Whether a flight's answer may be kept: nothing that it read was changed since its watch began. An error is
    never kept."""
    return broken_at is None and is_lasting


def is_for_others(is_shared: bool) -> bool:
    """(g) Whether a flight's answer may be kept, or given to whoever joined: all that it has observed of its caller
    stands in its key. Else those who have the same key may be callers for whom the answer is another one."""
    return is_shared


def holds_for(joined_at: int, broken_at: int | None) -> bool:
    """(c) Whether a flight's answer is one for a request that joined it at this position: if what it read was changed,
    then after that."""
    return broken_at is None or joined_at < broken_at


def has_the_epoch(epoch: str, found: str) -> bool:
    """(h) Whether what another process has kept was read from the log that is followed here."""
    return epoch == found


def reaches_back(since: Snapshot, forgotten: int, at: Snapshot) -> bool:
    """(h) Whether the ring has all that was applied here and is not in *at*: what was before it, and what it has
    forgotten, is in that."""
    return at.includes(since) and forgotten < at.xmin


def is_after(at: Snapshot, number: int) -> bool:
    """(h) Whether what transaction *number* changed is not known to whoever kept an answer as of *at*."""
    return not at.sees(number)


def must_flush(epoch: str, found: str, is_gap: bool) -> bool:
    """Whether what is kept can no longer be told from what changed: another log, or one that has forgotten too much."""
    return epoch != found or is_gap
