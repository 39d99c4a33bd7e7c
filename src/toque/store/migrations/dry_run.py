"""The SQL that an upgrade would run."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, MetaData, event

from toque.store.migrations.moving import pending
from toque.store.migrations.reports import Reports
from toque.store.migrations.running import run, sql_of
from toque.store.migrations.session import in_session
from toque.store.migrations.steps import Step, Steps
from toque.store.sqlite import path_of

__all__ = ["sql"]


async def sql(url: str, metadata: MetaData, folder: Path, target: str = "head") -> str:
    """What the steps that wait, up to *target*, would do, as a script. The database is only read.

    What SQLite does depends on the tables that are there, so that it is watched doing it on a copy.
    """
    steps = Steps(folder)
    until = {step.revision for step in steps.up_to(target)}
    chosen = [step for step in await pending(url, folder) if step.revision in until]
    if not url.startswith("sqlite"):
        return "\n".join(f"-- {step.name} ({step.phase})\n{sql_of(metadata, step)}" for step in chosen)
    with TemporaryDirectory(prefix="toque-") as copies:
        copy = Path(copies) / "copy.db"
        _copy(path_of(url), copy)
        return await in_session(f"sqlite:///{copy}", partial(_watched, metadata, steps, chosen))


def _copy(path: Path | None, copy: Path) -> None:
    if path is None or not path.exists():
        return
    source, target = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(copy)
    with source, target:
        source.backup(target)
    source.close()
    target.close()


def _watched(metadata: MetaData, steps: Steps, chosen: list[Step], connection: Connection) -> str:
    lines: list[str] = []

    @event.listens_for(connection, "before_cursor_execute")
    def _note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE", "BEGIN")):
            lines.append(f"{statement.strip()};" + (f"  -- {parameters}" if parameters else ""))

    for step in chosen:
        lines.append(f"-- {step.name} ({step.phase})")
        run(connection, metadata, steps, step, Reports())
        lines.append("COMMIT;")
    return "\n".join([*lines, ""]) if chosen else ""
