"""Whether PostgreSQL's wall stands: as the models say it, and before a role that cannot step over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from toque.contract.complaints import Complaint
from toque.store.row_security import Enforced, enforced, freed, put_up

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

__all__ = ["align", "complaints", "of_role"]

# The role may be a member of one that may do more: SET ROLE is all it then takes.
_ROLE = """
SELECT current_user,
       bool_or(rolsuper), bool_or(rolbypassrls)
  FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')
"""
_OWNED = "SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass($1)"
_TABLE = """
SELECT c.relrowsecurity AND c.relforcerowsecurity,
       (SELECT obj_description(p.oid, 'pg_policy') FROM pg_policy p
         WHERE p.polrelid = c.oid AND p.polname = 'toque_read'),
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)
  FROM pg_class c WHERE c.oid = to_regclass($1)
"""
_OURS = """
SELECT p.polrelid::regclass::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
 WHERE p.polname = 'toque_read' AND c.relnamespace = current_schema()::regnamespace
"""
POLICIES = 4
"""One for each command; every further permissive one opens what these close (they are joined by OR)."""


class _Wall(NamedTuple):
    is_up: bool
    digest: str | None
    policies: int


def complaints(connection: Connection, metadata: MetaData) -> Iterator[Complaint]:
    """What keeps the database from enforcing the rules of sensitive tables; nothing on SQLite."""
    if connection.dialect.name != "postgresql":
        return
    rules = enforced(metadata)
    for table, wanted in rules.items():
        wall = _wall(connection, table)
        if wall is not None and not _stands(wall, wanted):
            yield Complaint(
                f"table {table}",
                "the database does not enforce its rules as the model says them",
                "run `toque db revision`, then `toque db upgrade`",
            )
    yield from of_role(connection, list(rules))


def of_role(connection: Connection, tables: list[str]) -> Iterator[Complaint]:
    """Why the role that the app connects as is not held by the rules of *tables*."""
    if not tables:
        return
    role, is_superuser, is_bypassing = connection.exec_driver_sql(_ROLE).one()
    owned = [table for table in tables if connection.exec_driver_sql(_OWNED, (table,)).scalar()]
    reasons = [
        *(["is a superuser"] if is_superuser else []),
        *(["has BYPASSRLS"] if is_bypassing and not is_superuser else []),
        *([f"owns {', '.join(owned)}"] if owned and not is_superuser else []),
    ]
    if reasons:
        yield Complaint(
            "database.url",
            f"role {role!r} {' and '.join(reasons)}, so the rules of sensitive tables do not hold it",
            f"connect as a role of the app's own, and keep this one for `toque db upgrade`:\n{_app_role(role)}",
        )


def align(connection: Connection, metadata: MetaData) -> None:
    """Have a development database enforce the rules as the models say them now, without a migration."""
    if connection.dialect.name != "postgresql":
        return
    rules = enforced(metadata)
    kept = {table.replace('"', "") for table in rules}
    for table in connection.exec_driver_sql(_OURS).scalars().all():
        if table.replace('"', "") not in kept:
            _run(connection, freed(table))
    for table, wanted in rules.items():
        wall = _wall(connection, table)
        if wall is not None and not _stands(wall, wanted):
            _run(connection, put_up(table, wanted))


def _wall(connection: Connection, table: str) -> _Wall | None:
    """What stands around *table*; None where there is no such table."""
    row = connection.exec_driver_sql(_TABLE, (table,)).one_or_none()
    return None if row is None else _Wall(*row)


def _stands(wall: _Wall, wanted: Enforced) -> bool:
    return wall == _Wall(True, wanted.digest, POLICIES)


def _run(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _app_role(owner: str) -> str:
    return (
        "  CREATE ROLE app LOGIN PASSWORD '...' NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;\n"
        "  GRANT USAGE ON SCHEMA public TO app;\n"
        "  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;\n"
        "  GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app;\n"
        f'  ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA public\n'
        "    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;\n"
        f'  ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" IN SCHEMA public GRANT USAGE ON SEQUENCES TO app;'
    )
