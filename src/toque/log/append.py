"""Appending to the log: together with the COMMIT of the command that does it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from uuid import UUID, SafeUUID

import msgspec

from toque.log.event_table import SLOTS
from toque.store.closing import Insert
from toque.store.transaction import Transaction

__all__ = ["append", "slot_of", "uuid7", "uuid7s"]

DAY_S = 86_400

_COLUMNS = "id, type, version, key, headers, data"

# Right into the day's part: a third of what the server spends on a row would go into finding that out anew each time.
_INSERTS = tuple(
    Insert(
        (f"INSERT INTO toque.event_{slot} (slot, {_COLUMNS})", f"({slot}, $1, $2, $3, $4, $5, $6)"),
        "uuid, text, integer, text, text, text",
        f"INSERT INTO toque_event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
    )
    for slot in range(SLOTS)
)


def append(
    transaction: Transaction, type: str, version: int, *, key: str, headers: Mapping[str, str], data: bytes
) -> UUID:
    """Write an event when, and only when, *transaction* commits: its id.

    Args:
        data: JSON.
    """
    id = uuid7()
    head = msgspec.json.encode(headers).decode()
    transaction.attached.append((_INSERTS[slot_of(time.time())], (id, type, version, key, head, data.decode())))
    return id


def slot_of(at: float) -> int:
    """The part of the table for an event of this moment."""
    return int(at) // DAY_S % SLOTS


def uuid7() -> UUID:
    """A UUID of version 7 (RFC 9562, 5.7): milliseconds, then chance, so that ids of one moment lie together."""
    return _uuid(_head() | int.from_bytes(os.urandom(10), "big") & _CHANCE)


def uuid7s(count: int) -> list[UUID]:
    """As many of them, of this moment, in no order among themselves."""
    head = _head()
    chance = os.urandom(10 * count)
    return [
        _uuid(head | int.from_bytes(chance[place : place + 10], "big") & _CHANCE) for place in range(0, 10 * count, 10)
    ]


def _uuid(number: int) -> UUID:
    """UUID(int=number), in a third of the time: nothing is asked of a number that is one (so does Python 3.14)."""
    found = UUID.__new__(UUID)
    object.__setattr__(found, "int", number)
    object.__setattr__(found, "is_safe", _UNKNOWN)
    return found


_UNKNOWN = SafeUUID.unknown  # once: to look a member up takes Python 3.11 longer than the rest


def _head() -> int:
    return (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | 7 << 76 | 2 << 62


_CHANCE = (1 << 76) - 1 & ~(3 << 62)
"""The bits that are neither time, version nor variant."""
