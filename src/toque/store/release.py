"""The release that a served process runs, as others can see it: its app, version and last known migration.

A migration that takes something away must wait for the processes that still use it. On PostgreSQL each
connection already carries a name, so telling costs nothing: it is seen in `pg_stat_activity` and gone with the
process, however that ends. On SQLite a locked file beside the database does the same (`sqlite_presence.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Release"]

_PREFIX = "toque"
# PostgreSQL cuts names off at NAMEDATALEN - 1 bytes ("Identifiers and Key Words"); the revision must survive.
_NAME_BYTES_MAX = 63


class Release(msgspec.Struct, frozen=True):
    """One release of an app."""

    app: str
    version: str
    revision: str = ""
    """The last migration that its code knows; empty for an app without migrations."""

    @property
    def name(self) -> str:
        """`toque/<app>/<version>/<revision>`, short enough for an `application_name`."""
        version = _plain(self.version)[:16]
        room = _NAME_BYTES_MAX - len(f"{_PREFIX}//{version}/{self.revision}")
        return f"{_PREFIX}/{_plain(self.app)[:room]}/{version}/{self.revision}"

    @classmethod
    def parse(cls, name: str) -> Release | None:
        """The release that calls itself *name*; None where that is somebody else's name."""
        parts = name.split("/")
        return cls(*parts[1:]) if len(parts) == 4 and parts[0] == _PREFIX else None

    def is_of(self, app: str) -> bool:
        """Whether it is a release of *app*, whose name may have been shortened."""
        return Release(app, self.version, self.revision).name == self.name


def _plain(text: str) -> str:
    """Printable ASCII without our separator: PostgreSQL replaces what is not (`application_name`)."""
    return "".join(char if char.isascii() and char.isprintable() and char != "/" else "_" for char in text)
