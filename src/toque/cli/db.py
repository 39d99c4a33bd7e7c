"""`toque db`: the database's schema over time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from cyclopts import App, Parameter

from toque.cli.databases import database_of
from toque.cli.failures import Failure
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app
from toque.serving import database_url

if TYPE_CHECKING:
    from toque.store.migrations import Way

__all__ = ["db"]

T = TypeVar("T")

db = App(name="db", help="Bring a database up to the models, move it, keep it, and hear how it is.")

db.command("toque.cli.db_advise:advise", name="advise")
db.command("toque.cli.db_copy:copy", name="copy")
db.command("toque.cli.db_backup:backup", name="backup")
db.command("toque.cli.db_backup:restore", name="restore")
db.command("toque.cli.db_status:status", name="status")


@db.command
def revision(
    target: Target = ".",
    /,
    *,
    message: Annotated[str, Parameter(alias="-m")],
    rename: tuple[str, ...] = (),
    no_rename: Annotated[bool, Parameter(negative=())] = False,
    value: tuple[str, ...] = (),
    replace: tuple[str, ...] = (),
) -> None:
    """Write migrations: from what the migrations add up to, to what the models say.

    A dangerous change becomes several files: expand, backfill, switch, contract. The database itself is not
    touched. What the models do not say is asked at a terminal; elsewhere a flag must say it.

    - `toque db revision shop -m "orders have notes"`
    - `toque db revision shop -m "remarks" --rename orders.note=remark`
    - `toque db revision shop -m "ranks" --value "tag.rank=0"`

    Args:
        message: What changes, in a few words; it becomes the files' names.
        rename: What is called otherwise now: `table=new_table` or `table.column=new_column`.
        no_rename: Nothing was renamed: what is gone is meant to be dropped.
        value: What the rows that are there get in a column that must not be NULL: `table.column=SQL`.
        replace: What stands in for a value that an enum has no more: `enum.value=other`.
    """
    from toque.cli.db_terminal import asker
    from toque.store import migrations
    from toque.store.migrations.questions import Questions

    place = _database(target)

    async def write() -> list[Path]:
        questions = Questions(rename, value, replace, nothing_renamed=no_rename, asker=asker())
        return await migrations.revision(place.url, place.metadata, place.folder, message, questions)

    files = _done(write())
    if not files:
        print("the migrations are like the models already")
    for file in files:
        print(f"wrote {file}; read it before you run it")


@db.command
def check(
    target: Target = ".",
    /,
    *,
    all: Annotated[bool, Parameter(negative=())] = False,
    format: Literal["text", "json", "github"] = "text",
) -> int:
    """Say what is dangerous about the migrations that wait, and what to do instead.

    squawk reads the SQL that they are on PostgreSQL (`pip install 'toque[migrations]'`); rules of our own see what
    SQL does not show. A file may break a rule with a reason: `# toque: allow ban-drop-column because ...`.

    - `toque db check shop` ends with code 1 where anything is dangerous: a step for your CI.
    - `toque db check shop --format github` marks the lines in a pull request.

    Args:
        all: Also those that the database has already.
        format: How it is written.
    """
    from toque.cli.db_terminal import show_findings
    from toque.store.migrations.checking import findings

    place = _database(target)
    found = _done(findings(place.url, place.metadata, place.folder, is_all=all))
    show_findings(found, format)
    return 1 if found else 0


@db.command
def upgrade(
    target: Target = ".",
    /,
    *,
    to: str = "head",
    force: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(alias="--sql", negative=())] = False,
) -> int:
    """Run the migrations that wait, and make the tables that Toque needs for events and jobs.

    Locks are short and tried again; one migrator works at a time; one that was killed is continued. A step that
    takes something away waits until no release is served that does not know of it.

    - `toque db upgrade shop`
    - `TOQUE_DATABASE_URL=postgresql://... toque db upgrade shop` before a new release starts there, and once more
      when the old one has ended.

    Args:
        to: The last one to run.
        force: Do not wait for older releases. Their statements that use what is taken away will fail.
        dry_run: Print the SQL instead.
    """
    from toque.cli.db_terminal import Terminal
    from toque.store import migrations

    has_messages = not dry_run and _lay_out(target)
    if has_messages and not _has_migrations(target):
        _capture(target)
        return 0
    place = _database(target)
    _require_migrations(place.folder)
    if dry_run:
        from toque.store.migrations.dry_run import sql

        print(_done(sql(place.url, place.metadata, place.folder, to)), end="")
        return 0
    with Terminal() as reports, _capturing(target):
        way = migrations.Way(place.app, force, reports=reports)
        outcome = _done(migrations.upgrade(place.url, place.metadata, place.folder, to, way))
    if outcome.waits is not None:
        print(outcome.advice)
    elif not outcome.ran:
        print("nothing waits")
    # The next release cannot start before a switch; it can before a contraction.
    return 1 if outcome.waits is not None and outcome.waits.phase == "switch" else 0


@db.command
def downgrade(
    target: Target = ".",
    /,
    *,
    to: str = "-1",
    lose_data: Annotated[bool, Parameter(negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Take migrations back, the last one first.

    What would lose data, or has no way back, is refused before anything is changed.

    - `toque db downgrade shop` takes back the last one.
    - `toque db downgrade shop --to base --lose-data` takes back all.

    Args:
        to: The one to go back to, `base` for none, `-1` for one step.
        lose_data: Take back also what loses data.
        force: Do not mind releases that are served and need what is taken back.
    """
    from toque.cli.db_terminal import Terminal
    from toque.store import migrations

    place = _database(target)
    _require_migrations(place.folder)
    with Terminal() as reports:
        way: Way = migrations.Way(place.app, force, lose_data, reports=reports)
        _done(migrations.downgrade(place.url, place.metadata, place.folder, to, way))


@db.command
def current(target: Target = ".", /) -> None:
    """Print the migration that the database is at, and those that wait.

    - `toque db current shop`
    """
    from toque.store import migrations
    from toque.store.preparation import has_migrations

    place = _database(target)
    if not has_migrations(place.folder):
        print("no migrations yet")
        return
    print(f"at {_done(migrations.current(place.url)) or 'nothing'}")
    for step in _done(migrations.pending(place.url, place.folder)):
        print(f"waits {step.name} ({step.phase})")


@db.command
def history(target: Target = ".", /) -> None:
    """Print all migrations, first to last: phase, what a downgrade loses, and where the database is.

    - `toque db history shop`
    """
    from toque.cli.db_terminal import show_history
    from toque.store import migrations

    place = _database(target)
    _require_migrations(place.folder)
    show_history(migrations.Steps(place.folder), _done(migrations.current(place.url)))


def _lay_out(target: str) -> bool:
    """Make Toque's own tables where the app has events or jobs; returns whether it has."""
    from toque.messages.tables import lay_out
    from toque.settings import Settings

    app = load_app(target)
    # Whatever else its settings lack: what it declares says whether it has any.
    if app.serve(Settings(folder=app.folder)).system.messages is None:
        return False
    for step in _done(lay_out(database_url(settings_for(app), app.folder))):
        print(f"made Toque's own tables for {step}")
    return True


def _capture(target: str) -> bool:
    """Have changes told of where the app answers queries from memory; returns whether it does."""
    from toque.cache.capture import install
    from toque.settings import Settings
    from toque.system.caching import captured_tables

    app = load_app(target)
    if app.serve(Settings(folder=app.folder)).system.cache is None:
        return False
    for name in _done(install(database_url(settings_for(app), app.folder), captured_tables(app.metadata))):
        print(f"changes of {name} are told of")
    return True


@contextmanager
def _capturing(target: str) -> Iterator[None]:
    """Have changes told of in the end, also where a step failed: those before it may have taken capture down."""
    try:
        yield
    except Exception:
        with suppress(Exception):
            _capture(target)
        raise
    _capture(target)


def _has_migrations(target: str) -> bool:
    from toque.store.preparation import MIGRATIONS, has_migrations

    app = load_app(target)
    return app.metadata is not None and has_migrations(app.folder / MIGRATIONS)


class _Place(NamedTuple):
    """An app's database and its migrations."""

    app: str
    url: str
    metadata: Any
    folder: Path


def _database(target: str) -> _Place:
    from toque.store.preparation import MIGRATIONS

    kept = database_of(target)
    return _Place(kept.app.name, kept.url, kept.metadata, kept.app.folder / MIGRATIONS)


def _require_migrations(folder: Path) -> None:
    from toque.store.preparation import has_migrations

    if not has_migrations(folder):
        raise Failure(f"{folder} has no migrations yet; write the first with `toque db revision -m ...`")


def _done(work: Coroutine[Any, Any, T]) -> T:
    """What *work* on a schema comes to. Raises: Failure in the words of whatever went wrong."""
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from toque.store.migrations import Refused
    from toque.store.schema import SchemaDrift

    try:
        return asyncio.run(work)
    except (SchemaDrift, Refused, CommandError) as error:
        raise Failure(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise Failure(f"the database does not do it: {reason}; the step that failed changed nothing") from error
