"""What a command sends together with its COMMIT: rows gathered until then, in the same round trip.

A message to somebody else belongs into the transaction that it tells of, and would cost it a round trip more. On
PostgreSQL the statement and its COMMIT are one simple query (manual, 55.2.2.1 "Multiple Statements in a Simple Query"),
which takes no parameters: its values are written out from characters that cannot end a literal. On SQLite it is run in
the writer's thread before the commit.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID

__all__ = ["Attached", "Closing", "Insert", "Row", "Superseded", "literal", "run", "sql"]

Row = Sequence[Any]


class Superseded(Exception):
    """What is attached finds that this transaction counts no more: somebody else does its work. Nothing is kept."""


class Closing(Protocol):
    """A statement for any number of rows. One instance a statement: rows of the same one go together."""

    def sql(self, rows: Sequence[Row]) -> str:
        """PostgreSQL's text, values and all."""
        ...

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Run it on SQLite."""


Attached = tuple[Closing, Row]


class Insert:
    """An INSERT into a table of Toque's own.

    Args:
        postgresql: the statement up to VALUES, the row with `$1`, `$2`, ..., and what follows the rows.
        sqlite: the statement for one row, with `?`.
    """

    def __init__(self, postgresql: tuple[str, str, str], sqlite: str) -> None:
        self._head, self._row, self._tail = postgresql
        self._sqlite = sqlite

    def sql(self, rows: Sequence[Row]) -> str:
        return f"{self._head} VALUES {', '.join(self._written(row) for row in rows)}{self._tail}"

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        connection.executemany(self._sqlite, ([str(v) if isinstance(v, UUID) else v for v in row] for row in rows))

    def _written(self, row: Row) -> str:
        return _PLACE.sub(lambda place: literal(row[int(place[1]) - 1]), self._row)


def sql(attached: Sequence[Attached]) -> str:
    """PostgreSQL's text for all of *attached*, in their order, each statement ended."""
    return "".join(f"{closing.sql(rows)};" for closing, rows in _together(attached))


def run(attached: Sequence[Attached], connection: sqlite3.Connection) -> None:
    """Run all of *attached* on SQLite, in their order."""
    for closing, rows in _together(attached):
        closing.run(connection, rows)


def _together(attached: Sequence[Attached]) -> Iterator[tuple[Closing, list[Row]]]:
    for closing, same in groupby(attached, lambda one: one[0]):
        yield closing, [row for _, row in same]


_PLACE = re.compile(r"\$(\d+)")

_PLAIN = re.compile(r"[A-Za-z0-9_.:/ -]*", re.ASCII)
"""What needs no encoding: nothing here can end a literal, whatever `standard_conforming_strings` says."""


def literal(value: Any) -> str:
    """*value* as SQL for PostgreSQL, made of letters, digits and harmless signs alone.

    Raises: TypeError for what is none of None, bool, int, float, str, bytes, UUID.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return f"({value:d})"
        case float():
            return f"'{value!r}'::float8"
        case str():
            if _PLAIN.fullmatch(value):
                return f"'{value}'"
            return f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"
        case bytes():
            return f"decode('{value.hex()}', 'hex')"
        case UUID():
            return f"'{value}'::uuid"
    raise TypeError(f"expected a plain value for a literal, got {type(value).__name__}")
