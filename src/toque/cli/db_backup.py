"""`toque db backup` and `toque db restore`: an app's data in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from toque.cli.databases import database_of, moved
from toque.cli.failures import Failure
from toque.cli.parameters import Target

if TYPE_CHECKING:
    from toque.store.moving.archive import Manifest

__all__ = ["backup", "restore"]

File = Annotated[Path, Parameter(help="The backup: a ZIP with a manifest and checksums.")]


def backup(file: File, /, target: Target = ".", *, verify: bool = False) -> None:
    """Write one consistent state of the app's database into FILE, while the app goes on.

    - `toque db backup shop-monday.zip shop`
    - `toque db backup --verify shop-monday.zip` reads the file and checks every sum in it.

    Args:
        verify: Read a backup that is there instead of making one.
    """
    from toque.store.moving import backup as backups
    from toque.store.moving.site import MovingError

    if verify:
        try:
            print(f"{file} is whole: {_told(backups.verify(file))}")
        except MovingError as error:
            raise Failure(str(error)) from error
        return
    app, _, url, _ = database_of(target)
    made = moved(backups.backup(url, file, app=app.name, app_version=app.version))
    print(f"wrote {file}: {_told(made)}")


def restore(file: File, /, target: Target = ".", *, replace: bool = False) -> None:
    """Make the app's database what FILE holds: all of it or, if anything is wrong, nothing.

    The whole file is verified before the database is touched.

    - `TOQUE_DATABASE_URL=sqlite:///elsewhere.db toque db restore shop-monday.zip shop`

    Args:
        replace: Put it in the place of the rows that are there; without this a database with rows is refused.
    """
    from toque.messages.tables import RESTORED, lay_out
    from toque.store.moving import backup as backups

    app, _, url, metadata = database_of(target)
    restored = moved(
        backups.restore(url, file, metadata, app.folder, replace=replace, lay_out=lay_out, restored=RESTORED)
    )
    if restored.app != app.name:
        print(f"note: the backup is of {restored.app}, and this app is {app.name}")
    print(f"restored {_told(restored)}")
    print("next: `toque db upgrade`, for migrations that wait, and so that answers are kept in memory again")


def _told(manifest: Manifest) -> str:
    rows = sum(manifest.tables.values())
    at = f", at migration {manifest.revision}" if manifest.revision else ""
    when = manifest.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{rows} rows of {len(manifest.tables)} tables of {manifest.app} on {manifest.database}, {when}{at}"
