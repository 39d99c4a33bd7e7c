"""The port: what changed in the database since the last look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec
from sqlalchemy import Table

from toque.cache.change import Change, Image
from toque.cache.keys import Key, keys_of
from toque.cache.protocol import Seen
from toque.cache.snapshot import Snapshot
from toque.store.store import Store

__all__ = ["CHANGES_MAX", "Changes", "Images", "changes_of"]

CHANGES_MAX = 2000
"""Changes that one look takes. Where there are more, nothing is told apart any more: everything may have changed."""


class Changes(Protocol):
    """Looks into one database's log of changes."""

    async def look(self, before: Snapshot | None) -> Seen:
        """What is committed now and was not in *before*, all of it; with None, from where to go on.

        Raises: Unavailable.
        """
        ...


class Images:
    """From what the log has for a change to the change."""

    def __init__(self, tables: Sequence[Table], dialect_name: str) -> None:
        self._keys: Mapping[str, Mapping[str, Key]] = {table.fullname: keys_of(table, dialect_name) for table in tables}

    def change(self, name: str, columns: str, images: str | bytes | None, number: int = 0) -> Change:
        """The change of the table *name* by transaction *number*. What cannot be read may have been any row."""
        keys = self._keys.get(name)
        if images is None or keys is None:
            return Change(name, None, number)
        try:
            named = _names(columns)
            rows = msgspec.json.decode(images)
            if rows and type(rows[0]) is not list:
                # One after the other: brackets would be a tenth of what it costs PostgreSQL to tell.
                rows = [rows[at : at + len(named)] for at in range(0, len(rows), len(named))]
            # A row whose keys stay has one image, before and after.
            found = dict.fromkeys(map(tuple, rows))
            return Change(name, tuple(_image(named, row, keys) for row in found), number)
        except (msgspec.MsgspecError, TypeError, ValueError, AttributeError):
            # No text, or a value of a type that the column has only got since.
            return Change(name, None, number)


def changes_of(store: Store, tables: Sequence[Table]) -> Changes:
    """What looks into *store*'s log.

    Args:
        tables: those whose changes are captured.
    """
    images = Images(tables, store.dialect_name)
    if store.dialect_name == "sqlite":
        from toque.cache.sqlite_changes import SqliteChanges

        return SqliteChanges(store, images)
    from toque.cache.postgres_changes import PostgresChanges

    return PostgresChanges(store, images)


@lru_cache(4096)
def _names(columns: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(columns, type=list[str]))


def _image(names: Sequence[str], row: Sequence[Any], keys: Mapping[str, Key]) -> Image:
    # A column that this release does not compare has no key here.
    return {name: keys[name].of_image(value) for name, value in zip(names, row, strict=True) if name in keys}
