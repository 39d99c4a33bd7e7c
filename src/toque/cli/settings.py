"""`toque settings`: every setting, its value, and where the value came from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from toque.cli.run import settings_for
from toque.cli.target import load_app
from toque.settings import describe

__all__ = ["settings"]


def settings(target: str = ".") -> None:
    """Print every setting of the app TARGET: value, source and meaning. Secrets are not shown.

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    """
    table = Table()
    for heading in ("setting", "value", "from", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in describe(settings_for(load_app(target))):
        table.add_row(row.name, row.value, row.source, row.doc)
    Console().print(table)
