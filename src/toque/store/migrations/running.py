"""Running one migration: in one transaction, or statement by statement where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

# They join Alembic's by being imported, and must before Alembic chooses its own for a connection.
import toque.store.migrations.postgres_operations
import toque.store.migrations.sqlite_operations
import toque.store.row_security_steps  # noqa: F401
from toque.store.migrations.captured import take_down, tell
from toque.store.migrations.limits import limited
from toque.store.migrations.phases import LIMITS
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.session import is_sqlite, own_transaction
from toque.store.migrations.steps import Step, Steps

__all__ = ["run", "sql_of"]


def run(
    connection: Connection, metadata: MetaData, steps: Steps, step: Step, reports: Reports, *, is_up: bool = True
) -> None:
    """Run *step*, or the way back from it, and record where the database is then.

    One that is not transactional may have been run in part before: each of its statements can be run again.
    """
    context = MigrationContext.configure(connection, opts=options(metadata))
    connection.info.update(toque_step=step.revision, toque_reports=reports)
    # SQLite has no long shared locks to avoid, and one transaction is what keeps a rebuild whole. A backfill is
    # many transactions by nature.
    if step.is_transactional or (is_sqlite(connection) and step.phase != "backfill"):
        with connection.begin(), _keeping_references(connection):
            take_down(connection)
            _act(context, step, is_up)
            tell(connection)
            context.stamp(steps.scripts, _after(step, is_up))
        return
    _act(context, step, is_up)
    with own_transaction(connection):
        tell(connection)
        context.stamp(steps.scripts, _after(step, is_up))
        _forget_progress(connection, step)


def sql_of(metadata: MetaData, step: Step, dialect_name: str = "postgresql", *, is_up: bool = True) -> str:
    """The statements of *step*, as a script."""
    text = StringIO()
    offline = {"as_sql": True, "output_buffer": text, "literal_binds": True}
    context = MigrationContext.configure(dialect_name=dialect_name, opts={**options(metadata), **offline})
    _act(context, step, is_up)
    body = "\n".join(line for line in text.getvalue().splitlines() if line.strip())
    return f"BEGIN;\n{body}\nCOMMIT;\n" if step.is_transactional else f"{body}\n"


def options(metadata: MetaData) -> dict[str, Any]:
    """Alembic's options. The models' metadata brings the naming convention, so that a step names constraints as
    the models do."""
    return {"target_metadata": metadata, "compare_type": True, "render_as_batch": True}


def _act(context: MigrationContext, step: Step, is_up: bool) -> None:
    with Operations.context(context) as operations, limited(operations, LIMITS[step.phase]):
        (step.module.upgrade if is_up else step.module.downgrade)()


def _after(step: Step, is_up: bool) -> str:
    return step.revision if is_up else step.down or "base"


@contextmanager
def _keeping_references(connection: Connection) -> Iterator[None]:
    """On SQLite: refuse to leave more rows without the row they refer to than there were.

    Source: SQLite's documentation, "Making Other Kinds Of Table Schema Changes", step 10.
    """
    if not is_sqlite(connection):
        yield
        return
    before = _dangling(connection)
    yield
    if lost := _dangling(connection) - before:
        tables = sorted({str(row[0]) for row in lost})
        raise Refused(
            f"{len(lost)} rows of {', '.join(tables)} would refer to rows that are not there; nothing was changed."
        )


def _dangling(connection: Connection) -> set[Any]:
    return {tuple(row) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}


def _forget_progress(connection: Connection, step: Step) -> None:
    from toque.store.migrations.backfill import forget

    forget(connection, step.revision)
