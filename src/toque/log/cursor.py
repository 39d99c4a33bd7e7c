"""How far a reader of the log has come."""

from __future__ import annotations

import msgspec

__all__ = ["BEGINNING", "Cursor"]


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in the log. As JSON it is kept in the database.

    On SQLite the position is all: one writer at a time, so positions are given in the order of commits. On PostgreSQL
    a position is given before its commit, and a later one may be committed first: whoever asks for `pos > last` loses
    what came late. There a reader goes from one snapshot to the next, and reads what the second sees and the first did
    not, as PgQ does.
    """

    at: int = 0
    """Of what is being read, everything up to this position was."""
    seen: str = "1:1:"
    """The snapshot (`pg_snapshot`) all of whose transactions were read."""
    until: str = ""
    """The snapshot up to which is being read; empty where all of it was."""
    epoch: int = 1
    """Whose transaction numbers these are: a database restored into another cluster counts anew."""

    @property
    def is_caught_up(self) -> bool:
        """Whether everything up to a snapshot was read."""
        return not self.until


BEGINNING = Cursor()
"""Before the first event that is kept."""
