"""`toque db copy`: an app's data into another database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from toque.cli.databases import checked, database_of, moved
from toque.cli.operations import Several
from toque.cli.parameters import Target

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["copy"]

BEHIND = 3
"""Exit code: what was copied is whole, but the source has been written to since."""


def copy(
    target: Target = ".",
    /,
    *,
    to: Annotated[
        str, Parameter(help="The other database: `postgresql://user:password@host/name`, or `sqlite:///file`.")
    ],
    leave: Annotated[Several, Parameter(help="A table that no model has, and that may stay behind.")] = (),
) -> int:
    """Copy all data of the app into another, empty database.

    The tables are made there as for a new app. Every table is verified by count and checksum. If it stops for any
    reason, run it again: it goes on where it was. Stop the app first; what is written meanwhile is not copied (exit
    code 3), but comes with the next run.

    - `toque db copy shop --to postgresql://shop:secret@db.example/shop`
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from toque.messages.moving import Luggage
    from toque.serving import Serving
    from toque.store.moving.copy import copy as copied

    app, settings, url, metadata = database_of(target)
    checked(to, "--to")
    along = Luggage(url, to) if Serving(app, settings).system.messages is not None else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        result = moved(copied(url, to, metadata, app.folder, leave=leave, along=along, progress=_Bars(progress)))
    how = "went on with a copy and verified" if result.resumed else "copied and verified"
    print(f"{how} {sum(result.rows.values())} rows of {len(result.rows)} tables")
    if result.along:
        print("brought along: " + ", ".join(f"{count} of {table}" for table, count in result.along.items()))
    if result.left:
        print(f"left behind: {', '.join(result.left)}")
    if result.behind:
        print(
            f"{', '.join(result.behind)}: written to while it was copied, so the copy is whole but behind; "
            "stop the app and run this again"
        )
        return BEHIND
    print("next: set TOQUE_DATABASE_URL to the new address, run `toque db upgrade`, and start the app")
    return 0


class _Bars:
    """A bar for each table."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, table: str, done: int, total: int) -> None:
        if table not in self._tasks:
            self._tasks[table] = self._progress.add_task(table)
        self._progress.update(self._tasks[table], completed=done, total=total)
