"""Which columns of which table an index would have to have, read from a statement's text.

SQLAlchemy writes predicates as `table.column = value`, so a few patterns find them. What they miss is not advised;
what they find too much is weeded out by the trial (`catalog.Trial`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from toque.store.insight.catalog import Table

__all__ = ["Candidate", "candidates"]

# More columns make an index large and seldom narrower.
COLUMNS_MAX = 4

_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_VALUE = r"(?:\?|\$\d+|:\w+|'|\d|\()"
_PREDICATE = re.compile(rf"(?:({_NAME})\.)?({_NAME})\s*(=|<=|>=|<|>|\bIN\b|\bBETWEEN\b)\s*{_VALUE}", re.IGNORECASE)
_ALIAS = re.compile(rf"({_NAME}) AS ({_NAME})", re.IGNORECASE)
_ORDER = re.compile(r"\bORDER BY (.*?)(?:\bLIMIT\b|\bOFFSET\b|\bFOR\b|\)|$)", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(rf"^(?:({_NAME})\.)?({_NAME})(?:\s+(?:ASC|DESC))?$", re.IGNORECASE)

_EQUALITIES = frozenset({"=", "IN"})


class Candidate(NamedTuple):
    """An index that may help a statement."""

    table: str
    columns: tuple[str, ...]


def candidates(sql: str, tables: Mapping[str, Table]) -> list[Candidate]:
    """Indexes that may help *sql*: the columns that it compares for equality, then one that it compares as a range,
    or those that it sorts by (https://use-the-index-luke.com, "The Equals Operator", "Sorting and Grouping")."""
    resolve = _Resolver(sql, tables)
    where = sql.upper().find("WHERE")
    equal: dict[str, list[str]] = {}
    ranged: dict[str, list[str]] = {}
    for found in _PREDICATE.finditer(sql, where) if where >= 0 else ():
        if (place := resolve(found[1], found[2])) is not None:
            kind = equal if found[3].upper() in _EQUALITIES else ranged
            columns = kind.setdefault(place[0], [])
            if place[1] not in columns:
                columns.append(place[1])
    sorted_by = dict(_sorted(sql, resolve))
    made = []
    for table in {**equal, **ranged, **sorted_by}:
        first = equal.get(table, [])
        rest = ranged.get(table, [])[:1] or sorted_by.get(table, [])
        columns = list(dict.fromkeys([*first, *rest]))[:COLUMNS_MAX]
        made.append(Candidate(table, tuple(columns)))
    return made


def _sorted(sql: str, resolve: _Resolver) -> Iterator[tuple[str, list[str]]]:
    """The columns that the statement sorts by, where they are all of one table."""
    found = _ORDER.search(sql)
    if found is None:
        return
    places = []
    for text in found[1].split(","):
        column = _COLUMN.match(text.strip())
        place = resolve(column[1], column[2]) if column else None
        if place is None:
            return
        places.append(place)
    if len({table for table, _ in places}) == 1:
        yield places[0][0], [column for _, column in places]


class _Resolver:
    """From a name in a statement to a table's column."""

    def __init__(self, sql: str, tables: Mapping[str, Table]) -> None:
        words = {_plain(word) for word in re.findall(_NAME, sql)}
        self._tables = {name: table for name, table in tables.items() if name in words}
        self._aliases = {_plain(alias): _plain(name) for name, alias in _ALIAS.findall(sql)}

    def __call__(self, qualifier: str | None, column: str) -> tuple[str, str] | None:
        column = _plain(column)
        if qualifier:
            name = _plain(qualifier)
            table = self._tables.get(self._aliases.get(name, name))
            return (table.name, column) if table is not None and column in table.columns else None
        having = [table.name for table in self._tables.values() if column in table.columns]
        return (having[0], column) if len(having) == 1 else None


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
