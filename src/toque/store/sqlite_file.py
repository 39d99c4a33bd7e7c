"""Whether the file that this process has open is still the one at its path.

Who moves another file over it leaves the open one to this process alone: what is read there is old, and what is
committed there is gone with it. To open the new one is no way out, because the write-ahead log beside it belongs to the
old one (sqlite.org/howtocorrupt.html, section 4.3).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from toque.contract.errors import Unavailable

__all__ = ["OpenFile"]

log = logging.getLogger("toque.store")


class OpenFile:
    """See the module. A look costs 1.5 us, most of it the system's."""

    def __init__(self, path: Path) -> None:
        self._path = os.path.abspath(path)
        self._opened: tuple[int, int] | None = None
        self._is_told = False

    def open(self) -> None:
        """It was opened just now."""
        self._opened = self._found()

    def check(self) -> None:
        """Raises: Unavailable where it is another one by now."""
        if self._opened is None or self._found() == self._opened:
            return
        if not self._is_told:
            self._is_told = True
            log.error(
                "%s was replaced or removed while it was open; stop this process, and see to its -wal", self._path
            )
        raise Unavailable("The database's file was replaced while it was open; the app has to be started again.")

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
