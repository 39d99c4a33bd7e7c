"""Trying again for a lock: an ALTER gives up soon, lets those behind it pass, and comes back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.session import is_sqlite, own_transaction

__all__ = ["Patience", "is_lock_failure"]

T = TypeVar("T")

# PostgreSQL manual, appendix "Error Codes": lock_not_available, deadlock_detected.
_LOCKED = {"55P03", "40P01"}
_BUSY = "database is locked"  # sqlite3's text for SQLITE_BUSY

_HOLDERS = """
SELECT format('process %%s (%%s, %%s)', pid, coalesce(nullif(application_name, ''), usename), state)
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 3
"""


@dataclass(frozen=True)
class Patience:
    """How often, and how long between."""

    # With the pauses below three quarters of a minute: longer than a slow request, shorter than a pipeline's limit.
    tries_max: int = 10
    backoff_s: float = 0.5
    backoff_max_s: float = 8.0

    def run(self, act: Callable[[], T], connection: Connection, what: str, reports: Reports) -> T:
        """What *act* comes to. It is run again, with growing pauses, when it did not get a lock in time.

        Raises: Refused, naming who has transactions open, when it never got one.
        """
        for attempt in range(1, self.tries_max + 1):
            try:
                return act()
            except DBAPIError as error:
                if not is_lock_failure(error):
                    raise
            if attempt < self.tries_max:
                reports.say(f"{what}: no lock within its limit; try {attempt} of {self.tries_max}")
                # Half of it by chance (AWS Architecture Blog, "Exponential Backoff And Jitter").
                sleep(min(self.backoff_s * 2 ** (attempt - 1), self.backoff_max_s) * (0.5 + random.random() / 2))  # noqa: S311
        raise Refused(
            f"{what}: no lock in {self.tries_max} tries{_holders(connection)}. What was done stays; "
            "end those, or run it again when they are done."
        )


def is_lock_failure(error: DBAPIError) -> bool:
    """Whether it only came at a bad moment."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return code in _LOCKED or _BUSY in str(error.orig)


def _holders(connection: Connection) -> str:
    if is_sqlite(connection):
        return "; another process is writing"
    with own_transaction(connection):
        names = list(connection.exec_driver_sql(_HOLDERS).scalars())
    return f"; open transactions, oldest first: {', '.join(names)}" if names else ""
