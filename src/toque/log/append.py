"""Appending to the log: together with the COMMIT of the command that does it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from uuid import UUID

import msgspec

from toque.log.event_table import SLOTS
from toque.store.closing import Insert
from toque.store.transaction import Transaction

__all__ = ["append", "slot_of", "uuid7"]

DAY_S = 86_400

_COLUMNS = "id, type, version, key, headers, data"

INSERT = Insert(
    (f"INSERT INTO toque.event (slot, {_COLUMNS})", "($1, $2, $3, $4, $5, $6, $7)", ""),
    # The first value is the slot, which SQLite has no use for.
    f"INSERT INTO toque_event ({_COLUMNS}) VALUES (?2, ?3, ?4, ?5, ?6, ?7)",  # noqa: S608 - constants
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
    transaction.attached.append((INSERT, (slot_of(time.time()), id, type, version, key, head, data.decode())))
    return id


def slot_of(at: float) -> int:
    """The part of the table for an event of this moment."""
    return int(at) // DAY_S % SLOTS


def uuid7() -> UUID:
    """A UUID of version 7 (RFC 9562, 5.7): milliseconds, then chance, so that ids of one moment lie together."""
    milliseconds = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | (chance >> 68) << 64 | 2 << 62 | chance & (1 << 62) - 1
    return UUID(int=value)
