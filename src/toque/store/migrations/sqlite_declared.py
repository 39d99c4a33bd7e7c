"""What SQLite knows of a table and SQLAlchemy does not reflect: collations, AUTOINCREMENT, indexes that are more than
names of columns, and what a generated column is made of.

What has no pragma is asked of an empty database in memory that is given the table's own text: SQLite reads it best.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import NamedTuple

from sqlalchemy import Connection, text

__all__ = ["Declared", "Indexed", "declared", "generated_as", "indexed"]

_TABLE = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :table")
_INDEXES = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL")
_USUAL = "BINARY"
_LOOK = "toque_look"


class Declared(NamedTuple):
    """A table, as its own text says."""

    collations: dict[str, str]
    """By column, where it is not the usual one."""
    is_numbered: bool
    """Whether no number is given twice (AUTOINCREMENT), also not one whose row is gone."""


class Indexed(NamedTuple):
    """An index, as its own text says."""

    sql: str
    terms: str
    """What it is over."""
    condition: str
    is_unique: bool
    is_plain: bool
    """Whether it is over columns as they are: SQLAlchemy reflects no expression, order or collation."""

    @property
    def meaning(self) -> str:
        """The same for the same index, whatever its name and condition, and how a column is quoted."""
        return ("UNIQUE " if self.is_unique else "") + _bare(self.terms)


def declared(connection: Connection, table: str) -> Declared:
    sql = str(connection.execute(_TABLE, {"table": table}).scalar() or "")
    if not sql.upper().startswith("CREATE TABLE"):
        return Declared({}, False)  # A virtual table is its module's business.
    quote = connection.dialect.identifier_preparer.quote_identifier
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(sql)
        # The name may be another one after a rename, and the text with it.
        columns = ", ".join(quote(row[1]) for row in memory.execute(f"PRAGMA table_xinfo({quote(table)})"))
        memory.execute(f"CREATE INDEX {_LOOK} ON {quote(table)} ({columns})")
        found = {name: coll for _, _, name, _, coll, is_key in memory.execute(f"PRAGMA index_xinfo({_LOOK})") if is_key}
        numbering = memory.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone()
    return Declared({name: coll for name, coll in found.items() if coll != _USUAL}, numbering is not None)


def indexed(connection: Connection, table: str) -> dict[str, Indexed]:
    """The indexes of *table* by name, but for those that its constraints made."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    found = {}
    for name, sql in connection.execute(_INDEXES, {"table": table}).all():
        # An expression has no name (SQLite's documentation, PRAGMA index_info).
        columns = [str(row[2] or "") for row in connection.exec_driver_sql(f"PRAGMA index_info({quote(name)})")]
        found[name] = _read(sql, columns)
    return found


def generated_as(connection: Connection, table: str, column: str) -> str:
    """What the text of a table says that a column is computed as: SQLAlchemy loses it where a type has a comma."""
    sql = str(connection.execute(_TABLE, {"table": table}).scalar() or "")
    begin = re.search(rf"(?is)(?<!\w){re.escape(column)}\b.*?\bAS\s*\(", sql)
    return _within(sql, begin.end()) if begin is not None else ""


def _read(sql: str, columns: list[str]) -> Indexed:
    begin = sql.index("(", re.search(r"(?i)\sON\s", sql).end()) + 1  # type: ignore[union-attr] # It is on something.
    terms = _within(sql, begin)
    _, _, condition = re.sub(r"(?i)^\)\s*WHERE\b", "WHERE", sql[begin + len(terms) :]).partition("WHERE")
    is_unique = re.match(r"(?i)\s*CREATE\s+UNIQUE\b", sql) is not None
    return Indexed(sql, terms, condition.strip(), is_unique, _bare(terms) == _bare(",".join(columns)))


def _bare(sql: str) -> str:
    return re.sub(r'[\s"`\[\]]+', "", sql)


def _within(sql: str, begin: int) -> str:
    """From *begin* to the bracket that closes."""
    depth, at = 1, begin
    while depth and at < len(sql):
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        at += 1
    return sql[begin : at - 1]
