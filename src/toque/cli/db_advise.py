"""`toque db advise`: which indexes are missing, and which could go."""

from __future__ import annotations

import asyncio

from toque.cli.databases import database_of
from toque.cli.parameters import Target
from toque.cli.tables import Format, print_grid, print_json

__all__ = ["advise"]


def advise(target: Target = ".", /, *, format: Format = "table") -> None:
    """Say which indexes the app's database lacks and which it could do without; nothing is changed.

    It looks at foreign keys, at what indexes are used, and at the statements that the app ran: as PostgreSQL counted
    them (pg_stat_statements), else as the app recorded them (`database.statistics`). An index is tried where that harms
    nobody, and only advised if it helps.

    - `toque db advise shop`
    - `toque db advise shop --format json`

    Args:
        format: For people, or for programs.
    """
    from toque.store.insight.advice import advise as advised

    app, settings, url, _ = database_of(target)
    report = asyncio.run(advised(url, settings.folder or app.folder))
    if format == "json":
        print_json(report)
        return
    print(f"{report.statements} statements known ({report.source})")
    if not report.advice:
        print("nothing to advise")
        return
    rows = [(one.act, one.statement, one.why, "yes" if one.is_verified else "") for one in report.advice]
    print_grid(("do", "statement", "why", "tried"), rows, has_lines=True)
    print("write what you take into the models (index=True, or Index(...)), and then `toque db revision`")
