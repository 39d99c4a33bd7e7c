"""`toque db`: the database's schema over time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from toque.cli.failures import Failure
from toque.cli.run import settings_for
from toque.cli.target import Target, load_app
from toque.serving import database_url

__all__ = ["db"]

T = TypeVar("T")

db = App(name="db", help="Bring a database up to the models, step by step: revision, upgrade, current.")


@db.command
def revision(target: Target = ".", /, *, message: Annotated[str, Parameter(alias="-m")]) -> None:
    """Write a migration: from what the migrations add up to, to what the models say.

    The database itself is not touched. Read what was written before you run it.

    - `toque db revision shop -m "orders have notes"`

    Args:
        message: What changes, in a few words; it becomes the file's name.
    """
    from toque.store import migrations

    url, metadata, folder = _database(target)
    file = _done(migrations.revision(url, metadata, folder, message))
    print(f"wrote {file}; read it before you run it" if file else "the migrations are like the models already")


@db.command
def upgrade(target: Target = ".", /, *, to: str = "head") -> None:
    """Run the migrations that wait.

    - `toque db upgrade shop`
    - `TOQUE_DATABASE_URL=postgresql://... toque db upgrade shop` before a new release starts there.

    Args:
        to: The last one to run.
    """
    from toque.store import migrations

    url, metadata, folder = _database(target)
    if not (folder / "versions").is_dir():
        raise Failure(f"{folder} has no migrations yet; write the first with `toque db revision -m ...`")
    done = _done(migrations.upgrade(url, metadata, folder, to))
    print("\n".join(f"ran {name}" for name in done) or "nothing waits")


@db.command
def current(target: Target = ".", /) -> None:
    """Print the migration that the database is at, and those that wait.

    - `toque db current shop`
    """
    from toque.store import migrations

    url, _, folder = _database(target)
    if not (folder / "versions").is_dir():
        print("no migrations yet")
        return
    print(f"at {_done(migrations.current(url)) or 'nothing'}")
    for name in _done(migrations.pending(url, folder)):
        print(f"waits {name}")


def _database(target: str) -> tuple[str, Any, Path]:
    from toque.store import open_store
    from toque.store.preparation import MIGRATIONS

    app = load_app(target)
    if app.metadata is None:
        raise Failure(f"{app.name} has no models, so there is nothing to migrate")
    url = database_url(settings_for(app), app.folder)
    try:
        open_store(url)
    except ValueError as error:
        raise Failure(f"database.url: {error}") from None
    return url, app.metadata, app.folder / MIGRATIONS


def _done(work: Coroutine[Any, Any, T]) -> T:
    """What *work* on a schema comes to. Raises: Failure in the words of whatever went wrong."""
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from toque.store.schema import SchemaDrift

    try:
        return asyncio.run(work)
    except (SchemaDrift, CommandError) as error:
        raise Failure(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise Failure(f"the database does not do it: {reason}; nothing was changed") from error
