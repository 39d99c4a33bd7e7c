"""`toque db`: the database's schema over time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from toque.cli.failures import Failure
from toque.cli.run import settings_for
from toque.cli.target import load_app
from toque.serving import database_url

__all__ = ["db"]

db = App(name="db", help="Migrations: from the models to the database, step by step.")


@db.command
def revision(target: str = ".", *, message: Annotated[str, Parameter(alias="-m")]) -> None:
    """Write a migration from what the migrations add up to, to what the models say.

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    message: what changes, in a few words; it becomes the file's name.
    """
    from toque.store import migrations

    url, metadata, folder = _database(target)
    file = asyncio.run(migrations.revision(url, metadata, folder, message))
    print(f"wrote {file}; read it before you run it" if file else "the migrations are like the models already")


@db.command
def upgrade(target: str = ".", *, to: str = "head") -> None:
    """Run the migrations that wait.

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    to: the last one to run; all of them unless given.
    """
    from toque.store import migrations
    from toque.store.schema import SchemaDrift

    url, metadata, folder = _database(target)
    if not (folder / "versions").is_dir():
        raise Failure(f"{folder} has no migrations yet; write the first with `toque db revision -m ...`")
    try:
        done = asyncio.run(migrations.upgrade(url, metadata, folder, to))
    except SchemaDrift as drift:
        raise Failure(str(drift)) from drift
    print("\n".join(f"ran {name}" for name in done) or "nothing waits")


@db.command
def current(target: str = ".") -> None:
    """Print the migration that the database is at, and those that wait.

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    """
    from toque.store import migrations

    url, _, folder = _database(target)
    if not (folder / "versions").is_dir():
        print("no migrations yet")
        return
    print(f"at {asyncio.run(migrations.current(url)) or 'nothing'}")
    for name in asyncio.run(migrations.pending(url, folder)):
        print(f"waits {name}")


def _database(target: str) -> tuple[str, Any, Path]:
    from toque.store.preparation import MIGRATIONS

    app = load_app(target)
    if app.metadata is None:
        raise Failure(f"{app.name} has no models, so there is nothing to migrate")
    return database_url(settings_for(app), app.folder), app.metadata, app.folder / MIGRATIONS
