"""What SQLite's errors mean to a caller.

Source: https://www.sqlite.org/rescode.html. Messages of SQLite may hold values and SQL, so none of them
    travels.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from toque.contract.errors import DeadlineExceeded, Error, Invalid, Unavailable
from toque.store.constraints import broken, forbidden, unique_name

__all__ = ["FORBIDDEN_FUNCTION", "NOT_YOURS", "is_busy", "is_interrupted", "translate"]


FORBIDDEN_FUNCTION = "toque_forbidden"
"""The only function that our connections add. It fails: a rule refused what was written."""
_FUNCTION_FAILED = "user-defined function raised exception"
NOT_YOURS = "toque: the row may not be written"
"""What the wall around sensitive tables says of a row that a write would leave behind (`sqlite_wall`)."""


def is_interrupted(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translate(error: BaseException, tables: tuple[Any, ...] = ()) -> BaseException:
    """The error to raise instead; *error* itself when it is the app author's mistake."""
    if isinstance(error, (OverflowError, UnicodeError)):
        return Invalid("A value is outside what the database can hold.")
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _unnumbered(error)
    if code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return _constraint(code, str(error), tables)
    if str(error) == _FUNCTION_FAILED:
        return forbidden()
    make = _BY_CODE.get(code & 0xFF)
    return error if make is None else make()


def _unnumbered(error: sqlite3.Error) -> BaseException:
    # The module itself refuses a value of a Python type that SQLite has no place for.
    if "binding" in str(error):
        return Invalid("A value has a type that the database cannot hold.")
    return error


def _constraint(code: int, message: str, tables: tuple[Any, ...]) -> Error:
    name = message.partition(": ")[2]
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return broken(unique_name(name, tables))
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and message == NOT_YOURS:
        return forbidden()
    if code == sqlite3.SQLITE_CONSTRAINT_NOTNULL:
        return broken(f"{name} may not be empty")
    return broken(name if code == sqlite3.SQLITE_CONSTRAINT_CHECK else "")


def _past_the_wall() -> BaseException:
    return PermissionError(
        "a statement reaches past the rules of a sensitive table, or for the schema or its settings."
    )


def _read_only() -> BaseException:
    return PermissionError("a query only reads, and this statement writes; make the operation a command.")


def _unavailable() -> BaseException:
    return Unavailable("The database does not answer.", retry_after_s=1)


def _full() -> BaseException:
    return Unavailable("The database has no room left.", retry_after_s=1)


_BY_CODE: dict[int, Callable[[], BaseException]] = {
    sqlite3.SQLITE_AUTH: _past_the_wall,
    sqlite3.SQLITE_BUSY: _unavailable,
    sqlite3.SQLITE_LOCKED: _unavailable,
    sqlite3.SQLITE_FULL: _full,
    sqlite3.SQLITE_IOERR: _unavailable,
    sqlite3.SQLITE_CANTOPEN: _unavailable,
    sqlite3.SQLITE_CORRUPT: _unavailable,
    sqlite3.SQLITE_NOTADB: _unavailable,
    sqlite3.SQLITE_READONLY: _read_only,
    sqlite3.SQLITE_INTERRUPT: lambda: DeadlineExceeded("The statement was stopped."),
    sqlite3.SQLITE_TOOBIG: lambda: Invalid("A value is larger than the database can hold."),
    sqlite3.SQLITE_MISMATCH: lambda: Invalid("A value does not have its column's type."),
}
