"""Migrations: Alembic, configured here and nowhere else (no alembic.ini, no env.py).

A folder `migrations/` beside the app holds `versions/`, one file per step. A step is written from the
difference between the models and what the steps before it add up to, found out in a scratch schema: the state
of anybody's database has no part in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect

from toque.store.schema import SchemaDrift, drift, with_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["current", "pending", "revision", "upgrade"]

T = TypeVar("T")

_SCRATCH = "toque_scratch"

_FILE = '''"""{message}

Revision: {revision}
Revises: {down}
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text  # noqa: F401 - Alembic writes it bare inside of other types
from sqlalchemy.dialects import postgresql  # noqa: F401

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


async def revision(url: str, metadata: MetaData, folder: Path, message: str) -> Path | None:
    """Write the step from the last migration to the models: its file, or None when there is nothing to
    change."""
    return await asyncio.to_thread(_revise, url, metadata, folder, message)


async def upgrade(url: str, metadata: MetaData, folder: Path, target: str = "head") -> list[str]:
    """Run the steps up to *target*: the revisions that were run.

    A database whose tables `create_missing` made is taken over at the last step. Raises SchemaDrift when it
    does not have the shape that step leads to.
    """
    return await _in_thread(url, partial(_upgrade, metadata, _scripts(folder), target))


async def current(url: str) -> str | None:
    """The revision that the database is at; None when no step has been run."""
    return await _in_thread(url, _current)


async def pending(url: str, folder: Path) -> list[str]:
    """The revisions that the database still lacks, first to run first."""
    return await _in_thread(url, partial(_pending, _scripts(folder)))


async def _in_thread(url: str, act: Callable[[Connection], T]) -> T:
    return await asyncio.to_thread(with_connection, url, act)


def _scripts(folder: Path) -> ScriptDirectory:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _pending(scripts: ScriptDirectory, connection: Connection) -> list[str]:
    at = _current(connection)
    steps = [step.revision for step in scripts.walk_revisions()][::-1]
    return steps[steps.index(at) + 1 :] if at in steps else steps


def _upgrade(metadata: MetaData, scripts: ScriptDirectory, target: str, connection: Connection) -> list[str]:
    before = _pending(scripts, connection)
    if _current(connection) is None and before and _has_tables(connection, metadata):
        _take_over(metadata, scripts, connection)
        return []
    _run(metadata, scripts, target, connection)
    after = _pending(scripts, connection)
    return before[: len(before) - len(after)]


def _has_tables(connection: Connection, metadata: MetaData) -> bool:
    return bool(set(inspect(connection).get_table_names()) & metadata.tables.keys())


def _take_over(metadata: MetaData, scripts: ScriptDirectory, connection: Connection) -> None:
    missing = metadata.tables.keys() - set(inspect(connection).get_table_names())
    found = [f"table {name!r} is missing" for name in sorted(missing)] + drift(connection, metadata)
    if found:
        raise SchemaDrift(
            f"the database has tables but no migrations, and differs from the models: {'; '.join(found)}. "
            "Remove the development database, or bring it to the models' shape by hand."
        )
    MigrationContext.configure(connection).stamp(scripts, "head")


def _run(metadata: MetaData, scripts: ScriptDirectory, target: str, connection: Connection) -> None:
    def steps(at: Any, _: MigrationContext) -> Any:
        return scripts._upgrade_revs(target, at)

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev=target) as environment:
        # The models' metadata brings the naming convention, so that a step names constraints as the models
        # do.
        environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with environment.begin_transaction():
            environment.run_migrations()


def _revise(url: str, metadata: MetaData, folder: Path, message: str) -> Path | None:
    scripts = _scripts(folder)
    with _scratch(url) as address:
        bodies = with_connection(address, partial(_difference, metadata, scripts), is_kept=False)
    if bodies is None:
        return None
    down = scripts.get_current_head()
    name = _next_revision(down)
    slug = re.sub(r"\W+", "_", message.lower()).strip("_")[:40]
    file = folder / "versions" / f"{name}_{slug or 'change'}.py"
    text = _FILE.format(
        message=message.replace('"', "'"), revision=name, down=down, upgrade=bodies[0], downgrade=bodies[1]
    )
    file.write_text(text, encoding="utf-8")
    return file


def _next_revision(head: str | None) -> str:
    """The time, to the second, in UTC: it sorts, and two people seldom write at the same one."""
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    return str(int(head) + 1) if head is not None and head.isdigit() and head >= now else now


@contextmanager
def _scratch(url: str) -> Iterator[str]:
    """Where steps may be tried: an empty file of SQLite; PostgreSQL has schemas and transactional DDL for
    it."""
    if not url.startswith("sqlite"):
        yield url
        return
    with TemporaryDirectory(prefix="toque-") as folder:
        yield f"sqlite:///{folder}/scratch.db"


def _difference(metadata: MetaData, scripts: ScriptDirectory, connection: Connection) -> tuple[str, str] | None:
    """The bodies of `upgrade` and `downgrade` that lead from the steps so far to the models."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"CREATE SCHEMA {_SCRATCH}")
        connection.exec_driver_sql(f"SET LOCAL search_path TO {_SCRATCH}")
        connection.dialect.default_schema_name = _SCRATCH
    _run(metadata, scripts, "head", connection)
    context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
    script = produce_migrations(context, metadata)
    up, down = script.upgrade_ops, script.downgrade_ops
    if up is None or down is None or up.is_empty():
        return None
    return _body(up, context), _body(down, context)


def _body(operations: Any, context: MigrationContext) -> str:
    code = render_python_code(operations, render_as_batch=True, migration_context=context)
    return code.strip()
