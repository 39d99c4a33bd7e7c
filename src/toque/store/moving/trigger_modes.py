"""Triggers of PostgreSQL that are switched off while rows are loaded, and afterwards are as they were.

`ENABLE TRIGGER USER` alone makes one that was off fire, and one that fires always (`ENABLE ALWAYS`, as what tells the
cache of changes does) fire for plain sessions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["enable", "modes"]

_ENABLE = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}

_MODES = """
SELECT t.tgrelid::regclass::text, quote_ident(t.tgname), t.tgenabled::text
FROM pg_trigger AS t WHERE NOT t.tgisinternal AND t.tgenabled <> 'O' AND t.tgrelid IN (
    SELECT name::regclass FROM unnest($1::text[]) AS name
    UNION SELECT part.relid FROM unnest($1::text[]) AS name, pg_partition_tree(name::regclass) AS part
) ORDER BY 1, 2
"""


async def modes(connection: Any, names: Sequence[str]) -> list[list[str]]:
    """The triggers of the tables *names* that are not merely on, with their tables and modes."""
    return [list(row) for row in await connection.fetch(_MODES, list(names))]


async def enable(connection: Any, names: Sequence[str], kept: Sequence[Sequence[str]]) -> None:
    """Switch the triggers of the tables *names* on again, and those of *kept* to what they were."""
    for name in names:
        await connection.execute(f"ALTER TABLE {name} ENABLE TRIGGER USER")
    for table, trigger, mode in kept:
        await connection.execute(f"ALTER TABLE {table} {_ENABLE[mode]} TRIGGER {trigger}")
