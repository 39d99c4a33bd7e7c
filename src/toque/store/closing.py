"""What a command sends together with its COMMIT: rows gathered until then, in the same round trip.

A message to somebody else belongs into the transaction that it tells of, and would cost it a round trip more. On
PostgreSQL the statement and its COMMIT are one simple query (manual, 55.2.2.1 "Multiple Statements in a Simple Query"),
which takes no parameters: its values are written out in characters that cannot end a literal. What is said often is a
`Template`, which a session keeps, so that the server reads and plans it once. On SQLite it is run in the writer's
thread before the commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Attached", "Closing", "Insert", "Row", "Session", "Superseded", "Template", "literal", "run", "sql"]

Row = Sequence[Any]


class Superseded(Exception):
    """What is attached finds that this transaction counts no more: somebody else does its work. Nothing is kept."""


class Closing(Protocol):
    """A statement for any number of rows. One instance a statement: rows of the same one go together."""

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        """PostgreSQL's text, values and all, for *session*."""
        ...

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Run it on SQLite."""


Attached = tuple[Closing, Row]


class Template:
    """A statement for one row.

    Args:
        types: of `$1`, `$2`, ..., in their order, each of which the text has once or more.
    """

    def __init__(self, text: str, types: str) -> None:
        self.text = text
        self.types = types
        # What stands between the places, and whose value each place is for.
        self._first, *rest = _PLACE.split(text)
        self._places = [(int(number) - 1, after) for number, after in zip(rest[::2], rest[1::2], strict=True)]

    def filled(self, row: Row) -> str:
        """It with the values of *row* written out."""
        return self._first + "".join([literal(row[place]) + after for place, after in self._places])


class Session:
    """What one session of the server has been told, so that it need not be told again.

    Args:
        keeps: False where a pooler gives each transaction another session: then all is said in full each time.
    """

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._names: dict[Template, str] = {}
        self._new: list[Template] = []
        self._count = 0

    def say(self, template: Template, row: Row) -> str:
        """PostgreSQL's text for *template* with the values of *row*."""
        if not self._keeps:
            return template.filled(row)
        values = ", ".join(map(literal, row))
        if (name := self._names.get(template)) is not None:
            return f"EXECUTE {name}({values})"
        # What became of a statement that failed is not asked: no name is used twice.
        self._count += 1
        name = self._names[template] = f"toque_{self._count}"
        self._new.append(template)
        return f"PREPARE {name} ({template.types}) AS {template.text};EXECUTE {name}({values})"

    def heard(self) -> None:
        """What was said has been done."""
        self._new.clear()

    def failed(self) -> None:
        """It has not, so what was new may not be known."""
        for template in self._new:
            del self._names[template]
        self._new.clear()

    def forget(self) -> None:
        """Say all anew from now on: the schema is another one."""
        self._names.clear()
        self._new.clear()


class Insert:
    """An INSERT into a table of Toque's own.

    Args:
        postgresql: the statement up to VALUES, and the row with `$1`, `$2`, ....
        types: of the row's values.
        sqlite: the statement for one row, with `?`.
    """

    def __init__(self, postgresql: tuple[str, str], types: str, sqlite: str) -> None:
        self._head, row = postgresql
        self._row = Template(row, types)
        self._one = Template(f"{self._head} VALUES {row}", types)
        self._sqlite = sqlite

    def sql(self, rows: Sequence[Row], session: Session) -> str:
        if len(rows) == 1:
            return session.say(self._one, rows[0])
        return f"{self._head} VALUES {', '.join(map(self._row.filled, rows))}"

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        connection.executemany(self._sqlite, ([str(v) if isinstance(v, UUID) else v for v in row] for row in rows))


def sql(attached: Sequence[Attached], session: Session) -> str:
    """PostgreSQL's text for all of *attached*, in their order, each statement ended."""
    if len(attached) == 1:
        # What most have, without the price of looking for its like.
        closing, row = attached[0]
        return f"{closing.sql((row,), session)};"
    return "".join([f"{closing.sql(rows, session)};" for closing, rows in _together(attached)])


def run(attached: Sequence[Attached], connection: sqlite3.Connection) -> None:
    """Run all of *attached* on SQLite, in their order."""
    for closing, rows in _together(attached):
        closing.run(connection, rows)


def _together(attached: Sequence[Attached]) -> Iterator[tuple[Closing, list[Row]]]:
    for closing, same in groupby(attached, lambda one: one[0]):
        yield closing, [row for _, row in same]


_PLACE = re.compile(r"\$(\d+)")


def literal(value: Any) -> str:
    """*value* as SQL for PostgreSQL, made of harmless characters alone.

    Raises: TypeError for what is none of None, bool, int, float, str, bytes, UUID.
    """
    write = _WRITTEN.get(type(value))
    if write is not None:
        return write(value)
    # Of a class of somebody's own, a StrEnum say.
    for known, write in _WRITTEN.items():
        if isinstance(value, known):
            return write(value)
    raise TypeError(f"expected a plain value for a literal, got {type(value).__name__}")


def _text(value: str) -> str:
    # ASCII, but neither ' nor \, nor what ends a message: nothing here can end a literal, whatever
    # `standard_conforming_strings` says, and most JSON is made of it.
    if value.isascii() and "'" not in value and "\\" not in value and "\0" not in value:
        return f"'{value}'"
    return f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"


_WRITTEN: dict[type, Callable[[Any], str]] = {
    str: _text,
    UUID: lambda value: f"'{value.hex}'::uuid",
    bool: lambda value: "TRUE" if value else "FALSE",
    int: lambda value: f"({value:d})",
    float: lambda value: f"'{value!r}'::float8",
    bytes: lambda value: f"decode('{value.hex()}', 'hex')",
    type(None): lambda _: "NULL",
}
"""`bool` before `int`, which it is too."""
