"""Who has a SQLite file open as which release: a locked file for each process, in a folder beside the database.

The lock is the kernel's (flock(2)): it ends with the process, also with one that was killed. A file that nobody
locks was left by a process that is gone, and is removed by whoever looks.
"""

from __future__ import annotations

import fcntl
import os
from itertools import count
from pathlib import Path
from typing import IO

from toque.store.forking import keep_from_children
from toque.store.release import Release

__all__ = ["Presence", "present"]

_SUFFIX = "-served"
_numbers = count()


class Presence:
    """This process, seen by others from `begin` to `end`."""

    def __init__(self, database: Path, release: Release) -> None:
        self._folder = database.with_name(database.name + _SUFFIX)
        self._release = release
        self._file: IO[str] | None = None

    def begin(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._file = (self._folder / f"{os.getpid()}-{next(_numbers)}").open("w")
        keep_from_children(self._file)
        # Locked before there is anything to read: whoever reads a name knows that it is meant.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(self._release.name)
        self._file.flush()

    def end(self) -> None:
        if self._file is None:
            return
        Path(self._file.name).unlink(missing_ok=True)
        self._file.close()
        self._file = None


def present(database: Path) -> list[Release]:
    """The releases that have *database* open, one for each process."""
    folder = database.with_name(database.name + _SUFFIX)
    found = [_read(path) for path in sorted(folder.glob("*-*"))] if folder.is_dir() else []
    return [release for release in found if release is not None]


def _read(path: Path) -> Release | None:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # Nobody holds it. One that begins right now has written nothing yet, and is older than we are new:
            # its migrations are checked after it began.
            if file.read():
                path.unlink(missing_ok=True)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return Release.parse(path.read_text())
