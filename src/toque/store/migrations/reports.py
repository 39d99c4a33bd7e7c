"""What a migrator tells while it works."""

from __future__ import annotations

__all__ = ["Reports"]


class Reports:
    """Says nothing. The command line overrides what it shows; a test, what it counts."""

    def say(self, sentence: str) -> None:
        """Something that a person who waits should know."""

    def begins(self, name: str, phase: str) -> None:
        """A migration is about to run."""

    def ends(self, name: str) -> None:
        """It was run, and is recorded."""

    def fills(self, table: str, done: int, total: int) -> None:
        """So many rows of *table* are behind a backfill; *total* is an estimate."""
