"""Triggers that capture what a statement changes on PostgreSQL, whoever runs it.

A table has four statement triggers, because PostgreSQL gives transition tables to a trigger for one event only (manual,
CREATE TRIGGER). They tell the key columns of the rows before and after, up to a number, and else that it may have been
any row; no trigger joins the two tables, which took minutes for 20 000 rows (measured). Partitions have them too:
a statement fires the triggers of the table that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

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


_EVENTS = {"insert": ("new",), "update": ("old", "new"), "delete": ("old",), "truncate": ()}
"""Which rows the trigger of an event sees: those from before the statement, and those after it."""

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
# search_path says, names are found where they are meant. Each event of each table has a function of its own, so that
# nothing is asked and no argument handed over.
#
# Most statements write one row, and what they pay for is executors that begin and end: in instructions, to tell one row
# so is a fifth cheaper than to gather what there is first. Where it told none there are none, or several, or an old row
# without a new one: a trigger of the partition that it was to move to said no.
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS ${tag}$
#variable_conflict use_column
DECLARE
    told pg_catalog.int8;
    found pg_catalog.jsonb[];
BEGIN
    INSERT INTO toque.change (name, columns, images)
    SELECT {name}, '{columns}', pg_catalog.jsonb_build_array({pair}) FROM {pairs}
    WHERE NOT EXISTS (SELECT FROM {first} OFFSET 1);
    GET DIAGNOSTICS told = ROW_COUNT;
    IF told OPERATOR(pg_catalog.=) 0 THEN
        found := ARRAY(SELECT pg_catalog.jsonb_build_array({image}) FROM {rows} LIMIT {all});
        IF pg_catalog.cardinality(found) OPERATOR(pg_catalog.=) {all} THEN
            INSERT INTO toque.change (name) VALUES ({name});
        ELSIF found OPERATOR(pg_catalog.<>) '{{}}' THEN
            INSERT INTO toque.change (name, columns, images) VALUES ({name}, '{columns}', pg_catalog.to_jsonb(found));
        END IF;
    END IF;
    {bound}
    RETURN NULL;
END ${tag}$
"""
_TRUNCATE_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS ${tag}$
BEGIN
    INSERT INTO toque.change (name) VALUES ({name});
    {bound}
    RETURN NULL;
END ${tag}$
"""
_BOUND = f"""
    IF pg_catalog.random() OPERATOR(pg_catalog.<) {BOUND_SHARE} THEN
        PERFORM toque.bound_change();
    END IF;
"""

_EMPTY = "pg_catalog.jsonb_build_array()"
"""The row of a table without keys."""

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
        functions = _functions(table)
        lacking = [
            name for name, kind, _ in _tree(connection, table) if kind in "rp" and _lacks(connection, name, functions)
        ]
        if not lacking:
            continue
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        for function in functions.values():
            connection.exec_driver_sql(function.definition)
        for name in lacking:
            _put_up(connection, name, functions)
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
    functions = _functions(table)
    found = []
    for name, kind, is_subscribed in tree:
        if kind not in "rp":
            found.append(f"{name} is no table, and what lies behind it is not watched")
        elif _lacks(connection, name, functions):
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


def _lacks(connection: Connection, name: str, functions: Mapping[str, _Function]) -> bool:
    there = {(row.name, row.enabled, row.function) for row in connection.execute(_THERE, {"name": name})}
    return there != {(f"toque_change_{event}", "A", function.name) for event, function in functions.items()}


def _inexact(connection: Connection, table: Table) -> Iterator[str]:
    there = {row.name: row for row in connection.execute(_COLUMNS, {"name": _preparer.format_table(table)})}
    for name, key in keys_of(table, "postgresql").items():
        column = there.get(name)
        if column is None:
            yield f"it has no column {name}"
        elif column.type not in _TYPES[key.kind] or not column.is_exact:
            yield f"{name} is {column.type} there, whose equality is not that of the model's {key.kind}"


def _put_up(connection: Connection, name: str, functions: Mapping[str, _Function]) -> None:
    for event, function in functions.items():
        trigger = f"toque_change_{event}"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {trigger} AFTER {event.upper()} ON {name} {_referencing(event)} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION toque.{function.name}()"
        )
        # Also where `session_replication_role` is `replica`, as tools that load data set it.
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")


def _referencing(event: str) -> str:
    tables = [f"{age} TABLE AS toque_{age}" for age in _EVENTS[event]]
    return f"REFERENCING {' '.join(tables)}" if tables else ""


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


class _Function(NamedTuple):
    name: str
    definition: str


def _functions(table: Table) -> dict[str, _Function]:
    """What captures *table*'s changes, by event."""
    keys = keys_of(table, "postgresql")
    names = [_preparer.quote(name) for name in keys]
    words: dict[str, Any] = {
        "name": _literal(table.fullname),
        "columns": column_list(keys).replace("'", "''"),
        "image": ", ".join(_image("changed", keys)),
        "all": IMAGES_MAX + 1,
        "bound": _BOUND,
    }
    found = {}
    for event, ages in _EVENTS.items():
        seen = [f"toque_{age}" for age in ages]
        queries = {rows: f"SELECT * FROM {rows}" for rows in seen}  # noqa: S608 - constants
        words["first"] = next(iter(seen), "")
        words["pair"] = ", ".join(value for rows in seen for value in _image(rows, keys)) or _EMPTY
        words["pairs"] = ", ".join(_rows(names, query, rows) for rows, query in queries.items())
        words["rows"] = _rows(names, " UNION ALL ".join(queries.values()), "changed")
        found[event] = _function(table, _FUNCTION if seen else _TRUNCATE_FUNCTION, words)
    return found


def _function(table: Table, template: str, words: dict[str, Any]) -> _Function:
    # Its name tells the table, the columns and the way, so that one is never taken for another.
    body = template.format(function="", tag="", **words)
    name = f"capture_{blake2b(f'{table.fullname} {body}'.encode(), digest_size=6).hexdigest()}"
    # No table's name has that within, so it can quote the body.
    return _Function(name, template.format(function=f"toque.{name}", tag=name, **words))


def _rows(names: Sequence[str], query: str, alias: str) -> str:
    # A column that somebody has dropped or renamed since makes no write fail: a name that the rows do not have is found
    # around them, and is null. Nothing is kept any more of such a table (`postgres_changes.py`).
    gone = ", ".join(f"NULL AS {name}" for name in names)
    kept = f"LATERAL (SELECT {', '.join(names)} FROM ({query}) AS rows) AS kept"  # noqa: S608 - names that are quoted
    return f"(SELECT kept.* FROM (SELECT {gone}) AS gone, {kept}) AS {alias}"  # noqa: S608 - as above


def _image(alias: str, keys: Mapping[str, Key]) -> list[str]:
    return [_value(f"{alias}.{_preparer.quote(name)}", key) for name, key in keys.items()]


def _value(column: str, key: Key) -> str:
    return f"pg_catalog.left({column}::pg_catalog.text, {TEXT_MAX})" if key.kind in ("text", "enum") else column


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
