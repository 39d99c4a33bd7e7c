"""What a database needs before an app is served: tables like its models, by migrations where there are any."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from toque.contract.complaints import Complaint, SetupError

if TYPE_CHECKING:
    from sqlalchemy import MetaData

__all__ = ["MIGRATIONS", "check", "check_tables", "has_migrations", "head", "prepare"]

_ASSIGNED = re.compile(r"(?m)^(revision|down_revision)(?:: [^=]+)? = ['\"]([^'\"]*)['\"]")

_log = logging.getLogger("toque.store")

MIGRATIONS = "migrations"
"""The folder of an app's migrations, beside the app."""


async def prepare(url: str, metadata: MetaData, folder: Path) -> bool:
    """Bring a development database up to the models; returns whether it was new.

    An app that has migrations is upgraded by them; one that has none yet gets the tables that are missing.

    Raises: SetupError where a table differs from its model, or lacks what it needs, which only a migration can mend.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from toque.store.migrations.refused import Refused
    from toque.store.schema import SchemaDrift, create_missing

    try:
        if has_migrations(folder / MIGRATIONS):
            from toque.store import migrations

            is_new = await migrations.current(url) is None
            await migrations.upgrade(url, metadata, folder / MIGRATIONS)
            await check_tables(url, metadata, folder)
        else:
            made = await create_missing(url, metadata)
            is_new = len(made) > 0 and len(made) == len(metadata.tables)
        for complaint in await _unenforced(url, metadata):
            _log.warning("%s: %s; production would not start", complaint.subject, complaint.problem)
        return is_new
    except (SchemaDrift, Refused) as drift:
        raise SetupError([Complaint("database", str(drift))]) from drift
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise SetupError(
            [Complaint("database", f"it cannot be opened: {reason}", "check TOQUE_DATABASE_URL")]
        ) from error


async def check(url: str, metadata: MetaData, folder: Path) -> None:
    """Look whether a production database is fit for the app; production never changes a schema by starting.

    Raises: SetupError where migrations wait to be run, or where the models need what the tables do not have (the app
    would start, and then fail call by call), or where the database would not enforce the rules of sensitive tables.
    """
    wrong = [*await _unlike(url, metadata, folder), *await _unenforced(url, metadata)]
    if wrong:
        raise SetupError(wrong)


async def check_tables(url: str, metadata: MetaData, folder: Path) -> None:
    """Look whether the tables are those of the models, whoever asks and whatever he may see. Raises: SetupError."""
    if wrong := await _unlike(url, metadata, folder):
        raise SetupError(wrong)


async def _unlike(url: str, metadata: MetaData, folder: Path) -> list[Complaint]:
    """The migrations that wait; where none do, what the tables lack."""
    if waiting := await _waiting(url, folder):
        return waiting
    from toque.store.schema import lacking

    remedy = "write a migration with `toque db revision`, and run it with `toque db upgrade`"
    return [Complaint("database", problem, remedy) for problem in await lacking(url, metadata)]


async def _waiting(url: str, folder: Path) -> list[Complaint]:
    if not has_migrations(folder / MIGRATIONS):
        return []
    from toque.store import migrations

    waiting = list(await migrations.pending(url, folder / MIGRATIONS))
    # Contracting waits for the release before this one to end, and so must not wait to be done before this one.
    while waiting and waiting[-1].phase == "contract":
        waiting.pop()
    if not waiting:
        return []
    problem = f"{len(waiting)} migrations wait: {', '.join(step.revision for step in waiting)}"
    return [Complaint("database", problem, "run `toque db upgrade`")]


async def _unenforced(url: str, metadata: MetaData) -> list[Complaint]:
    """What keeps the database from enforcing the rules of sensitive tables, where there are any."""
    from toque.store.rule_sql import sensitive

    if url.startswith("sqlite") or not sensitive(metadata):
        return []
    from toque.store.row_security_check import complaints
    from toque.store.schema import with_connection

    return await asyncio.to_thread(with_connection, url, lambda connection: list(complaints(connection, metadata)))


def head(folder: Path) -> str:
    """The last migration that the app in *folder* has, read without Alembic: a served process only names it."""
    revisions, revised = set(), set()
    for file in (folder / MIGRATIONS / "versions").glob("*.py"):
        found = dict(_ASSIGNED.findall(file.read_text(encoding="utf-8")))
        revisions.add(found.get("revision", ""))
        revised.add(found.get("down_revision", ""))
    return max(revisions - revised, default="")


def has_migrations(folder: Path) -> bool:
    """Whether any was written; a `toque db revision` that was refused leaves an empty folder."""
    return any((folder / "versions").glob("*.py"))
