"""`toque db status`: how the app's database is, and who waits for whom."""

from __future__ import annotations

import asyncio

from toque.cli.databases import database_of
from toque.cli.failures import Failure
from toque.cli.parameters import Target
from toque.cli.tables import Format, print_json

__all__ = ["status"]


def status(target: Target = ".", /, *, format: Format = "table") -> None:
    """Say how the app's database is: sizes, connections, transactions, lock waits, lag; the same as its metrics.

    For people it also says which session waits for a lock of which other.

    - `toque db status shop`

    Args:
        format: For people, or for programs.
    """
    from toque.store.insight.blocking import waits
    from toque.store.insight.measures import measure

    _, _, url, _ = database_of(target)
    try:
        found = asyncio.run(measure(url))
        waiting = asyncio.run(waits(url)) if format == "table" else []
    except Exception as error:
        raise Failure(f"the database does not answer: {type(error).__name__}; check TOQUE_DATABASE_URL") from error
    if format == "json":
        print_json(found)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("figure", no_wrap=True)
    table.add_column("of", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("is", overflow="fold")
    for one in found:
        table.add_row(one.name, escape(", ".join(one.labels.values())), _told(one.name, one.value), escape(one.help))
    Console().print(table)
    for line in waiting:
        print(line)


def _told(name: str, value: float) -> str:
    if name.endswith("_bytes") and value >= 1 << 20:
        return f"{value / (1 << 20):,.1f} MiB"
    return f"{value:,.1f}" if name.endswith("_seconds") else f"{value:,.0f}"
