"""What several processes know of acknowledged writes, in memory that they share."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from time import monotonic

__all__ = ["KEYS", "Record"]

KEYS = 24
VERSIONS_MAX = 4_096
"""Of one key in one turn: many times what is written."""


class Record:
    """For each key the last version whose writer has been told that it is written, and when each was.

    Each key has one writer. A version is told after its time is noted, so whoever sees it finds that.
    """

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), self.size())

    @staticmethod
    def size() -> int:
        return 8 * (KEYS + KEYS * VERSIONS_MAX)

    def acknowledge(self, key: int, version: int) -> None:
        struct.pack_into("d", self._memory, self._place(key, version), monotonic())
        struct.pack_into("q", self._memory, 8 * key, version)

    def acknowledged(self, key: int) -> int:
        """The last version that nobody who asks from now on should miss."""
        version: int = struct.unpack_from("q", self._memory, 8 * key)[0]
        return version

    def acknowledged_at(self, key: int, version: int) -> float:
        at: float = struct.unpack_from("d", self._memory, self._place(key, version))[0]
        return at

    def _place(self, key: int, version: int) -> int:
        return 8 * (KEYS + key * VERSIONS_MAX + version)
