"""`toque db advise`: which indexes are missing, and which could go."""

from __future__ import annotations

import asyncio
from typing import Literal

from toque.cli.databases import database_of
from toque.cli.parameters import Target

__all__ = ["advise"]


def advise(target: Target = ".", /, *, format: Literal["table", "json"] = "table") -> None:
    """Say which indexes the app's database lacks and which it could do without; nothing is changed.

    It looks at foreign keys, at what indexes are used, and at the statements that the app ran: as PostgreSQL counted
    them (pg_stat_statements), else as the app recorded them (`database.statistics`). An index is tried where that harms
    nobody, and only advised if it helps.

    - `toque db advise shop`
    - `toque db advise shop --format json`

    Args:
        format: For people, or for programs.
    """
    import msgspec

    from toque.store.insight.advice import advise as advised

    app, settings, url, _ = database_of(target)
    report = asyncio.run(advised(url, settings.folder or app.folder))
    if format == "json":
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    print(f"{report.statements} statements known ({report.source})")
    if not report.advice:
        print("nothing to advise")
        return
    table = Table(show_lines=True)
    for heading in ("do", "statement", "why", "tried"):
        table.add_column(heading, overflow="fold")
    for one in report.advice:
        table.add_row(one.act, *map(escape, (one.statement, one.why)), "yes" if one.is_verified else "")
    Console().print(table)
    print("write what you take into the models (index=True, or Index(...)), and then `toque db revision`")
