"""Which releases of an app still use a database: what a change that takes something away has to wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection

from toque.store.migrations.session import is_sqlite, reading
from toque.store.migrations.steps import Step, Steps
from toque.store.release import Release
from toque.store.sqlite_presence import present

__all__ = ["behind", "beyond", "described"]

# Every role may read who is connected and under which name (PostgreSQL manual, pg_stat_activity).
_CONNECTED = """
SELECT DISTINCT ON (client_addr, application_name) application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'toque/%%'
"""


def behind(connection: Connection, app: str, steps: Steps, step: Step) -> list[Release]:
    """The releases alive whose code does not know of *step*. One that is unknown here counts: it may be older."""
    knowing = set(steps.revisions[steps.place(step.revision) :])
    return [release for release in _alive(connection, app) if release.revision not in knowing]


def beyond(connection: Connection, app: str, steps: Steps, step: Step) -> list[Release]:
    """The releases alive whose code needs *step*, which a downgrade would take from them."""
    older = set(steps.revisions[: steps.place(step.revision)])
    return [release for release in _alive(connection, app) if release.revision not in older]


def described(releases: Sequence[Release]) -> str:
    """`shop 1.2.3 (at 20260101000000)`, and how many where there are several."""
    counted = Counter(releases)
    return ", ".join(
        f"{release.app} {release.version} (knows {release.revision or 'no migration'})" + (f" x {n}" if n > 1 else "")
        for release, n in counted.items()
    )


def _alive(connection: Connection, app: str) -> list[Release]:
    found = _named(connection)
    return [release for release in found if release.is_of(app)]


def _named(connection: Connection) -> list[Release]:
    from pathlib import Path

    if is_sqlite(connection):
        return present(Path(str(connection.engine.url.database)))
    with reading(connection):
        names = connection.exec_driver_sql(_CONNECTED).scalars()
        return [release for name in names if (release := Release.parse(name)) is not None]
