"""What PostgreSQL's errors mean to a caller, by SQLSTATE.

Source: PostgreSQL's manual, appendix A. Its messages hold values, so none of them travels.
"""

from __future__ import annotations

import asyncpg  # type: ignore[import-untyped]

from toque.contract.errors import DeadlineExceeded, Invalid, Unavailable
from toque.store.closing import Superseded
from toque.store.constraints import FORBIDDEN_SETTING, broken, forbidden
from toque.store.transaction import Cause

__all__ = ["FAILURES", "STOPPED", "cause_of", "is_from_client", "is_lost", "is_stale_plan", "translate"]

BROKEN = asyncpg.InternalClientError
"""What asyncpg raises on a connection that the server has ended between two statements, before it has closed it."""

FAILURES = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.OutdatedSchemaCacheError),
    *(BROKEN, OSError, ValueError, OverflowError),
)
"""What a statement may raise that `translate` knows."""

STOPPED = (asyncpg.QueryCanceledError, TimeoutError)
"""What a statement raises that took longer than it was allowed to, on a connection that is still good."""


def is_stale_plan(error: BaseException) -> bool:
    """Whether the schema changed under a prepared statement, or under what asyncpg knows of a type."""
    return isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError))


def is_lost(error: BaseException) -> bool:
    """Whether the connection ends with *error*, also where the end itself is still to come."""
    is_end = isinstance(error, (asyncpg.PostgresConnectionError, BROKEN, OSError))
    return is_end or getattr(error, "severity_en", None) in ("FATAL", "PANIC")


def cause_of(error: BaseException) -> Cause | None:
    """Why the transaction may be run again, as a whole, after *error*; None where it may not."""
    if is_stale_plan(error):
        return "schema changed"
    return _CAUSES.get(getattr(error, "sqlstate", None) or "")


def is_from_client(error: BaseException) -> bool:
    """Whether asyncpg itself refused a value. It uses the classes of the server's errors, but has no
    severity."""
    return getattr(error, "severity", None) is None


def translate(error: BaseException) -> BaseException:
    """The error to raise instead; *error* itself when it is the app author's mistake."""
    if is_stale_plan(error):
        return Unavailable("The schema changed under the call, and nothing of it was kept; try again.", retry_after_s=0)
    if isinstance(error, asyncpg.PostgresError):
        state: str = getattr(error, "sqlstate", None) or ""
        make = _BY_STATE.get(state) or _BY_CLASS.get(state[:2])
        if make is None:
            return _unavailable(error) if is_lost(error) else error
        return make(error)
    if isinstance(error, (ValueError, OverflowError)):
        # asyncpg refuses a value that its type cannot hold before it is sent.
        return Invalid("A value is outside what the database can hold.")
    if isinstance(error, (asyncpg.InterfaceError, BROKEN, OSError)):
        return _unavailable(error)
    return error


def _constraint(error: asyncpg.PostgresError) -> BaseException:
    column = getattr(error, "column_name", None)
    name = getattr(error, "constraint_name", None)
    table = getattr(error, "table_name", None)
    return broken(name or (f"{table}.{column} may not be empty" if column else ""))


def _unavailable(error: BaseException) -> BaseException:
    return Unavailable("The database does not answer.", retry_after_s=1)


def _again(error: BaseException) -> BaseException:
    return Unavailable("The change met another one and was rolled back; try again.", retry_after_s=0)


def _setting(error: BaseException) -> BaseException:
    return forbidden() if FORBIDDEN_SETTING in str(error) else error


def _read_only(error: BaseException) -> BaseException:
    return PermissionError("a query only reads, and this statement writes; make the operation a command.")


def _privilege(error: BaseException) -> BaseException:
    # The server has one state for a row that a policy refuses and for a table that was never granted; the first is
    # the caller's affair, the second the operator's. Its message is translated, the place in its source is not.
    is_row = getattr(error, "server_source_function", None) == "ExecWithCheckOptions"
    return forbidden() if is_row else error


_CAUSES: dict[str, Cause] = {"40001": "serialisation", "40P01": "deadlock"}

_BY_STATE = {
    "25006": _read_only,
    "40001": _again,
    "40P01": _again,
    "42501": _privilege,
    "53100": lambda error: Unavailable("The database has no room left.", retry_after_s=1),
    "55P03": _again,
    "42704": _setting,
    "57014": lambda error: DeadlineExceeded("The statement was stopped."),
    # Our own, raised by what is attached to a commit.
    "TQ001": lambda error: Superseded(str(error)),
}
_BY_CLASS = {
    "08": _unavailable,
    "22": lambda error: Invalid("A value is outside what the database can hold."),
    "23": _constraint,
    "53": _unavailable,
    "57": _unavailable,
    "58": _unavailable,
}
