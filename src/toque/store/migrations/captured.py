"""What a step of a migration owes to whoever is told of changes (`toque.cache.capture`, decision 0035).

On SQLite a trigger that names a column keeps it from being dropped, and one that names a column that is gone makes
writes fail. So the triggers are taken down in the transaction of the step: if it fails, they stand. Whoever migrates
puts up those that fit the models in the end, and every start does; meanwhile nothing is kept, because without its
triggers a table counts as untold. On PostgreSQL they stand through everything, and what they cannot read any more may
have been any row; a change of the schema by itself says nothing, so the step does.
"""

from __future__ import annotations

from sqlalchemy import Connection

from toque.store.migrations.session import is_sqlite

__all__ = ["take_down", "tell"]

_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'toque\\_change\\_%' ESCAPE '\\'"

# A role that migrates and may not write there changes nothing that was captured by a role that may.
_LOG = """
SELECT true FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'toque' AND relname = 'change'
    AND has_schema_privilege(pg_namespace.oid, 'USAGE') AND has_table_privilege(pg_class.oid, 'INSERT')
"""
_ANY_TABLE = "INSERT INTO toque.change (name) VALUES ('*')"


def take_down(connection: Connection) -> None:
    """Before the schema changes, in the same transaction."""
    if is_sqlite(connection):
        quote = connection.dialect.identifier_preparer.quote
        for name in connection.exec_driver_sql(_TRIGGERS).scalars().all():
            connection.exec_driver_sql(f"DROP TRIGGER {quote(name)}")


def tell(connection: Connection) -> None:
    """After it has changed, in the same transaction where that is one."""
    if not is_sqlite(connection) and connection.exec_driver_sql(_LOG).scalar():
        connection.exec_driver_sql(_ANY_TABLE)
