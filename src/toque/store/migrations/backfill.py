"""Filling columns of many rows: in batches along the primary key, beside the traffic, from where it was left.

A batch and the place it ended at are committed together, so that a migrator that was killed goes on with the next
one. Keys are kept as the literals that the database itself writes for them: exact for every type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import Any, NamedTuple

from alembic.operations import Operations
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, Text, inspect, text
from sqlalchemy.schema import CreateTable

from toque.store.migrations.operations import Backfill
from toque.store.migrations.patience import Patience
from toque.store.migrations.quoting import qualified
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.session import is_sqlite, own_transaction

__all__ = ["PROGRESS_TABLE", "forget", "run"]

PROGRESS_TABLE = "toque_backfill"
"""How far each backfill is; empty between migrations."""

_PROGRESS = Table(
    PROGRESS_TABLE,
    MetaData(),
    Column("name", String(200), primary_key=True),
    Column("last_key", Text, nullable=False),
    Column("rows_done", Integer, nullable=False),
)

# As long a pause as the batch before took: a backfill takes half of one connection's time, and never all of it.
PAUSE_PER_WORK = 1.0
# A batch that had to wait for locks must not be followed by a pause as long.
PAUSE_MAX_S = 1.0


class _Place(NamedTuple):
    key: str
    """A row value of literals, `'a', 2`; empty before the first row."""
    done: int


class _Filling(NamedTuple):
    """A backfill in the words of one database."""

    name: str
    table: str
    keys: list[str]
    assignments: str
    where: str
    literals: str
    rows: int


def run(operations: Operations, step: Backfill) -> None:
    """Fill the rows that are left. In a script, and within a transaction, in one statement."""
    impl: Any = operations.impl
    connection: Connection | None = impl.connection
    if impl.as_sql or connection is None or connection.in_transaction():
        operations.execute(_whole(impl.dialect.identifier_preparer.quote, step))
        return
    reports: Reports = connection.info.get("toque_reports") or Reports()
    filling = _prepared(connection, step)
    place = _begun(connection, filling)
    total = max(_estimate(connection, filling), place.done)
    reports.fills(step.table, place.done, total)
    while True:
        began = monotonic()
        found = Patience().run(
            partial(_batch, connection, filling, place), connection, f"backfill of {step.table}", reports
        )
        if found is None:
            break
        place = found
        reports.fills(step.table, place.done, max(total, place.done))
        sleep(min((monotonic() - began) * PAUSE_PER_WORK, PAUSE_MAX_S))
    reports.fills(step.table, place.done, place.done)


def forget(connection: Connection, revision: str) -> None:
    """Remove the progress of a migration that is done."""
    if inspect(connection).has_table(PROGRESS_TABLE):
        connection.execute(_PROGRESS.delete().where(_PROGRESS.c.name.startswith(f"{revision}:")))


def _whole(quote: Callable[[str], str], step: Backfill) -> str:
    table = qualified(quote, step.table, step.schema)
    return f"UPDATE {table} SET {_assignments(quote, step)} WHERE {_where(quote, step)}"  # noqa: S608


def _assignments(quote: Callable[[str], str], step: Backfill) -> str:
    return ", ".join(f"{quote(column)} = {value}" for column, value in step.values.items())


def _where(quote: Callable[[str], str], step: Backfill) -> str:
    return step.where or " OR ".join(f"{quote(column)} IS NULL" for column in step.values)


def _prepared(connection: Connection, step: Backfill) -> _Filling:
    quote = connection.dialect.identifier_preparer.quote
    with own_transaction(connection):
        keys = inspect(connection).get_pk_constraint(step.table, schema=step.schema)["constrained_columns"]
    if not keys:
        raise Refused(
            f"table {step.table!r} has no primary key to go along; write its update by hand: op.execute('UPDATE ...')."
        )
    table = qualified(quote, step.table, step.schema)
    quoted = [quote(key) for key in keys]
    # quote() and quote_literal() write a value so that it is read back as the same one (SQLite, "Built-In Scalar
    # Functions"; PostgreSQL manual, "String Functions"). A literal takes the type of what it is compared with (manual,
    # "Operators": Type Conversion); a cast to the name of a type would cut it: `character` is one of a single letter.
    literal = "quote({0})" if is_sqlite(connection) else "quote_literal({0}::text)"
    literals = " || ', ' || ".join(literal.format(key) for key in quoted)
    revision = connection.info.get("toque_step", "")
    columns = ",".join(step.values)
    return _Filling(
        f"{revision}:{step.schema or ''}.{step.table}.{columns}"[:200],
        table,
        quoted,
        _assignments(quote, step),
        _where(quote, step),
        literals,
        step.rows,
    )


def _begun(connection: Connection, filling: _Filling) -> _Place:
    with own_transaction(connection):
        connection.execute(CreateTable(_PROGRESS, if_not_exists=True))
        query = _PROGRESS.select().where(_PROGRESS.c.name == filling.name)
        row = connection.execute(query).one_or_none()
        if row is None:
            connection.execute(_PROGRESS.insert().values(name=filling.name, last_key="", rows_done=0))
    return _Place("", 0) if row is None else _Place(row.last_key, row.rows_done)


def _estimate(connection: Connection, filling: _Filling) -> int:
    """How many rows there are, roughly: for people, who look at a bar."""
    with own_transaction(connection):
        if not is_sqlite(connection):
            found = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)")
            if (rows := connection.execute(found, {"table": filling.table}).scalar() or 0) > 0:
                return int(rows)
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {filling.table}").scalar() or 0)  # noqa: S608


def _batch(connection: Connection, filling: _Filling, place: _Place) -> _Place | None:
    """Fill the next rows and note where they end; None when there are none."""
    keys = ", ".join(filling.keys)
    beyond = f"({keys}) > ({place.key})" if place.key else "true"
    with connection.begin():
        # The window is walked in the index; which of its rows need filling is the update's business.
        window = (
            f"SELECT {filling.literals}, count(*) OVER () FROM (SELECT {keys} FROM {filling.table} "  # noqa: S608
            f"WHERE {beyond} ORDER BY {keys} LIMIT {filling.rows}) AS page "
            f"ORDER BY {', '.join(f'{key} DESC' for key in filling.keys)} LIMIT 1"
        )
        found: Any = connection.execute(_verbatim(window)).one_or_none()
        if found is None:
            return None
        key, rows = found
        connection.execute(
            _verbatim(
                f"UPDATE {filling.table} SET {filling.assignments} "  # noqa: S608
                f"WHERE {beyond} AND ({keys}) <= ({key}) AND ({filling.where})"
            )
        )
        reached = _Place(key, place.done + rows)
        connection.execute(
            _PROGRESS.update()
            .where(_PROGRESS.c.name == filling.name)
            .values(last_key=reached.key, rows_done=reached.done)
        )
    return reached


def _verbatim(sql: str) -> Any:
    """As it is: a colon in a literal is no parameter."""
    return text(sql.replace(":", r"\:"))
