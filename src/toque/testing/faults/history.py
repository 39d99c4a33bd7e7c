"""What happened, in the order in which it happened, as it was written down beside the processes that it happened to.

Every line is one write(2) at the end of one file. What was written stays when its process is killed with SIGKILL: the
kernel is the recorder that nothing here can kill. And a line is in the file before its writer goes on, so the order of
lines is one in which things can have happened; no clock is asked. (Lines sent over a socket to a recording process
would come in the order in which that one reads them.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["History", "Line", "What", "lines_of"]

What = Literal[
    "asked",
    "answered",
    "refused",
    "unknown",
    "born",
    "died",
    "began",
    "ended",
    "failed",
    "hurt",
]


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that happened."""

    what: What
    """Of a call: it was `asked` for; it was `answered`, `refused` (nothing was done), or nobody knows. Of a life: it
    was `born`, it `died`, or it was `hurt` by a fault that it may survive. Of a run of a handler or a job: it `began`,
    `ended` or `failed`."""
    life: str = ""
    """Which process: the name of its node, a dot, and how often that was started: `n0.2`."""
    id: str = ""
    """Of the call, and of everything that it brought about."""
    consumer: str = ""
    """Whose run it is."""
    key: str = ""
    """What it is in order with."""
    is_once: bool = False
    """Of a call: whether it is asked for under an idempotency key."""
    told: str = ""
    """The answer, the error's code, the fault."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode

LINE_BYTES_MAX = 4096
"""Well below what one write to a local file takes at once; a line longer than that is a mistake of its writer."""


class History:
    """The end of a history's file, for one of the processes that write it."""

    def __init__(self, path: Path) -> None:
        # O_APPEND: each write goes to the end as it is then, whoever else writes (write(2)).
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, line: Line) -> None:
        """Add *line*; it is there when this returns."""
        data = _encode(line) + b"\n"
        if len(data) > LINE_BYTES_MAX:
            raise ValueError(f"a line of a history has at most {LINE_BYTES_MAX} bytes, got {len(data)}: {line.what}.")
        os.write(self._file, data)

    def close(self) -> None:
        os.close(self._file)


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of the history at *path* that are whole by now."""
    with path.open("rb") as file:
        for data in file:
            if not data.endswith(b"\n"):
                return  # It is being written: a reader meets the first page of a write that has two (write(2)).
            yield _decode(data)
