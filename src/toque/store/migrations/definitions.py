"""What a key, a unique constraint or an index is beyond its columns, which Alembic does not compare: its condition, its
method, when it is checked; and which columns the primary key has.

Two things of one name are told apart by it, and not made into one another: give the new one a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, Inspector, text

from toque.store.migrations.quoting import qualified
from toque.store.migrations.session import is_sqlite

__all__ = ["KEY", "definitions", "redefined"]

KEY = "primary key"
_ALWAYS = "without a condition"

_ON_POSTGRESQL = text("""
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = to_regclass(:table) AND contype IN ('u', 'x')
UNION ALL
SELECT relname, substring(pg_get_indexdef(indexrelid) FROM ' USING .*')
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = to_regclass(:table)
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
""")
_ON_SQLITE = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL")


def definitions(inspector: Inspector, table: str, schema: str | None) -> dict[str, str]:
    """Each by its name; the primary key by `KEY`, because its name says nothing."""
    connection = inspector.bind
    assert isinstance(connection, Connection)
    found = {KEY: ", ".join(inspector.get_pk_constraint(table, schema=schema)["constrained_columns"])}
    if is_sqlite(connection):
        for name, sql in connection.execute(_ON_SQLITE, {"table": table}):
            # As its author wrote it; a column that was renamed is quoted since.
            _, _, condition = re.sub(r'[\s"]+', " ", sql).partition(" WHERE ")
            found[name] = re.sub(r"[\s()]", "", condition)
        return found
    named = qualified(connection.dialect.identifier_preparer.quote, table, schema)
    return found | dict(connection.execute(_ON_POSTGRESQL, {"table": named}).all())


def redefined(before: dict[str, str], wanted: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """What has another definition than before, or is one of a kind that Alembic never sees: name, old, and new."""
    for name, definition in wanted.items():
        old = before.get(name)
        is_overlooked = definition.startswith("EXCLUDE") and definition not in before.values()
        if (old is None and is_overlooked) or (old is not None and old != definition):
            yield name, "not there" if old is None else old or _ALWAYS, definition or _ALWAYS
