"""Triggers that capture what a statement changes on PostgreSQL, whoever runs it.

A table has four statement triggers, because PostgreSQL gives transition tables to a trigger for one event only (manual,
CREATE TRIGGER). They tell the key columns of the rows before and after, up to a number, and else that it may have been
any row; no trigger joins the two tables, which took minutes for 20 000 rows (measured). Partitions have them too:
a statement fires the triggers of the table that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, text
from sqlalchemy.dialects import postgresql

from toque.cache.change import ANY_TABLE
from toque.cache.column_list import column_list
from toque.cache.keys import TEXT_MAX, Key, keys_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["IMAGES_MAX", "faults", "install"]

IMAGES_MAX = 64
"""Row images of one statement: 32 rows before and after, or 64 new or old ones."""

BOUND_SHARE = 1 / 256
"""How many of the statements see whether the log is bounded, which forgets four times as many changes as come."""

_EVENTS = {
    "insert": "REFERENCING NEW TABLE AS toque_new",
    "update": "REFERENCING OLD TABLE AS toque_old NEW TABLE AS toque_new",
    "delete": "REFERENCING OLD TABLE AS toque_old",
    "truncate": "",
}

_DDL = "toque_change_ddl"

_TYPES = {
    "integer": {"int2", "int4", "int8"},
    "boolean": {"bool"},
    "date": {"date"},
    "uuid": {"uuid"},
    "text": {"text", "varchar"},
    "enum": {"text", "varchar", "ENUM"},
}
"""For each kind of key, the database's own types whose equality is that of the canonical form."""

# The function belongs to whoever installs it, and writers need no right on Toque's tables. Whatever a writer's
# search_path says, names are found where they are meant. A column that somebody has dropped, renamed or given another
# type since (class 42 of the errors) makes no write fail: it may have been any row then. Only what reads the columns
# is in the inner block, which is a savepoint, so that nothing is written in one and no transaction number is spent.
# Each table has a function of its own, so its name is written there: an argument costs an array at every statement.
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS ${tag}$
#variable_conflict use_column
DECLARE
    found pg_catalog.jsonb[];
BEGIN
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            SELECT ARRAY(
                SELECT {image} FROM (SELECT {names} FROM toque_old UNION ALL SELECT {names} FROM toque_new LIMIT {all})
                AS changed
            ) INTO found;
        ELSIF TG_OP = 'INSERT' THEN
            SELECT ARRAY(SELECT {image} FROM toque_new AS changed LIMIT {all}) INTO found;
        ELSIF TG_OP = 'DELETE' THEN
            SELECT ARRAY(SELECT {image} FROM toque_old AS changed LIMIT {all}) INTO found;
        END IF;
    EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
        found := NULL;
    END;
    IF pg_catalog.cardinality(found) OPERATOR(pg_catalog.<) {all} THEN
        IF found OPERATOR(pg_catalog.<>) '{{}}' THEN
            INSERT INTO toque.change (name, columns, images) VALUES ({told}, '{columns}', pg_catalog.to_jsonb(found));
        END IF;
    ELSE
        INSERT INTO toque.change (name) VALUES ({told});
    END IF;
    IF pg_catalog.random() OPERATOR(pg_catalog.<) {share} THEN
        PERFORM toque.bound_change();
    END IF;
    RETURN NULL;
END ${tag}$
"""

_DDL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION toque.capture_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $body$
BEGIN
    INSERT INTO toque.change (name) VALUES ('{ANY_TABLE}');
END $body$
"""  # noqa: S608 - constants
_DDL_TRIGGER = f"""
CREATE EVENT TRIGGER {_DDL} ON ddl_command_end
WHEN TAG IN ('ALTER TABLE', 'DROP TABLE', 'ALTER TYPE', 'CREATE VIEW', 'ALTER VIEW', 'DROP VIEW',
             'REFRESH MATERIALIZED VIEW')
EXECUTE FUNCTION toque.capture_ddl()
"""

# A table and its partitions, however deep.
_TREE = text(
    """
    WITH RECURSIVE tree AS (
        SELECT to_regclass(:name)::oid AS id
        UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.id
    )
    SELECT relation.oid::regclass::text AS name, relation.relkind::text AS kind,
           EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = relation.oid) AS is_subscribed
    FROM tree JOIN pg_class AS relation ON relation.oid = tree.id
    """
)
_THERE = text(
    """
    SELECT tgname AS name, tgenabled::text AS enabled, proname AS function
    FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = to_regclass(:name) AND tgname LIKE 'toque_change_%'
    """
)
_UNUSED = text(
    """
    SELECT proname FROM pg_proc
    WHERE pronamespace = to_regnamespace('toque') AND proname ~ '^capture_[0-9a-f]{12}$'
        AND pg_has_role(proowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = pg_proc.oid)
    """
)
_COLUMNS = text(
    """
    SELECT attname AS name, CASE typtype WHEN 'e' THEN 'ENUM' ELSE typname END AS type,
           coalesce(collisdeterministic, true) AS is_exact
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE attrelid = to_regclass(:name) AND attnum > 0
    """
)

# Toque's own say what the models say, which the compiler writes into each statement anyway (`store/row_security.py`).
_POLICIES = text(
    r"""
    SELECT polname FROM pg_policy
    WHERE polrelid = to_regclass(:name) AND row_security_active(polrelid) AND polname NOT LIKE 'toque\_%'
    """
)

# asyncpg takes `%` as it is; where it stands for a parameter, SQLAlchemy would write it twice.
_preparer: Any = postgresql.dialect(paramstyle="numeric_dollar").identifier_preparer  # type: ignore[no-untyped-call]


def install(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """Put up what is missing or differs, in the current transaction: the names of the tables that were touched.

    A table is locked against writes for that moment, after five seconds' wait at most.
    """
    touched = []
    for table in tables:
        function, definition = _function(table)
        lacking = [
            name for name, kind, _ in _tree(connection, table) if kind in "rp" and _lacks(connection, name, function)
        ]
        if not lacking:
            continue
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        connection.exec_driver_sql(definition)
        for name in lacking:
            _put_up(connection, name, function)
        touched.append(table.fullname)
    if touched:
        _drop_unused(connection)
        _watch_ddl(connection)
    return touched


def faults(connection: Connection, table: Table) -> list[str]:
    """Why changes of *table* are not told, or not exactly; one sentence each."""
    tree = _tree(connection, table)
    if not tree:
        return ["it is not there"]
    function, _ = _function(table)
    found = []
    for name, kind, is_subscribed in tree:
        if kind not in "rp":
            found.append(f"{name} is no table, and what lies behind it is not watched")
        elif _lacks(connection, name, function):
            found.append(f"{name} has not the triggers that capture its changes")
        # Whoever applies them fires triggers of rows alone (manual, "Logical Replication", "Architecture").
        if is_subscribed:
            found.append(f"a subscription brings changes into {name}, of which no trigger tells")
    for policy in connection.execute(_POLICIES, {"name": _preparer.format_table(table)}).scalars():
        found.append(f"it has the policy {policy}, and nobody knows what that reads")
    return found + list(_inexact(connection, table))


def _tree(connection: Connection, table: Table) -> list[tuple[str, str, bool]]:
    rows = connection.execute(_TREE, {"name": _preparer.format_table(table)})
    return [(row.name, row.kind, row.is_subscribed) for row in rows]


def _lacks(connection: Connection, name: str, function: str) -> bool:
    there = {(row.name, row.enabled, row.function) for row in connection.execute(_THERE, {"name": name})}
    return there != {(f"toque_change_{event}", "A", function) for event in _EVENTS}


def _inexact(connection: Connection, table: Table) -> Iterator[str]:
    there = {row.name: row for row in connection.execute(_COLUMNS, {"name": _preparer.format_table(table)})}
    for name, key in keys_of(table, "postgresql").items():
        column = there.get(name)
        if column is None:
            yield f"it has no column {name}"
        elif column.type not in _TYPES[key.kind] or not column.is_exact:
            yield f"{name} is {column.type} there, whose equality is not that of the model's {key.kind}"


def _put_up(connection: Connection, name: str, function: str) -> None:
    for event, tables in _EVENTS.items():
        trigger = f"toque_change_{event}"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {trigger} AFTER {event.upper()} ON {name} {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION toque.{function}()"
        )
        # Also where `session_replication_role` is `replica`, as tools that load data set it.
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")


def _drop_unused(connection: Connection) -> None:
    """Drop the functions of earlier triggers, as far as they are this role's."""
    for name in connection.execute(_UNUSED).scalars().all():
        connection.exec_driver_sql(f"DROP FUNCTION toque.{name}()")


def _watch_ddl(connection: Connection) -> None:
    """Have a change of the schema tell that nothing is known any more, where the role may: event triggers are for
    superusers."""
    is_allowed = connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar()
    is_there = connection.execute(
        text("SELECT true FROM pg_event_trigger WHERE evtname = :name"), {"name": _DDL}
    ).first()
    if is_allowed and is_there is None:
        connection.exec_driver_sql(_DDL_FUNCTION)
        connection.exec_driver_sql(_DDL_TRIGGER)
        # As above.
        connection.exec_driver_sql(f"ALTER EVENT TRIGGER {_DDL} ENABLE ALWAYS")


def _function(table: Table) -> tuple[str, str]:
    """The name of the function that captures *table*'s changes, and its definition. The name tells the columns and the
    way, so that one is never taken for another."""
    keys = keys_of(table, "postgresql")
    image = f"pg_catalog.jsonb_build_array({', '.join(_value(name, key) for name, key in keys.items())})"
    digest = blake2b(f"{table.fullname} {image} {_FUNCTION}".encode(), digest_size=6).hexdigest()
    name = f"capture_{digest}"
    definition = _FUNCTION.format(
        function=f"toque.{name}",
        tag=name,  # No table's name has it within.
        told=_literal(table.fullname),
        image=image,
        names=", ".join(map(_preparer.quote, keys)),
        columns=column_list(keys).replace("'", "''"),
        all=IMAGES_MAX + 1,
        share=BOUND_SHARE,
    )
    return name, definition


def _value(name: str, key: Key) -> str:
    column = f"changed.{_preparer.quote(name)}"
    return f"pg_catalog.left({column}::pg_catalog.text, {TEXT_MAX})" if key.kind in ("text", "enum") else column


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
