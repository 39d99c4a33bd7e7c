"""Whether a SELECT is proven cheap, and may so run in the event loop's own thread.

A read by key takes microseconds; handing it to a thread would cost several times that. The proof is SQLite's
own plan: every table is searched by its whole primary key or a whole unique index, or by an index under a
LIMIT, and nothing is scanned or sorted. Source: https://www.sqlite.org/eqp.html.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

__all__ = ["is_cheap"]

# `IN (...)` by key is one search per value: this many are still far below a millisecond.
ARGUMENTS_MAX = 64

_ROWID = re.compile(r"SEARCH \S+ USING INTEGER PRIMARY KEY \(rowid=\?\)( LEFT-JOIN)?$")
_INDEX = re.compile(r"SEARCH \S+ USING (?:COVERING )?INDEX (\S+) \((.*)\)( LEFT-JOIN)?$")
_LIMIT = re.compile(r"\bLIMIT (\?|\d+)")


def is_cheap(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> bool:
    if len(arguments) > ARGUMENTS_MAX:
        return False
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]
    is_limited = _LIMIT.search(sql) is not None
    return all(_is_bounded(connection, step, is_limited) for step in plan)


def _is_bounded(connection: sqlite3.Connection, step: str, is_limited: bool) -> bool:
    if _ROWID.match(step) or step == "SCAN CONSTANT ROW":
        return True
    search = _INDEX.match(step)
    if search is None:
        return False
    return is_limited or _is_whole_key(connection, search[1], search[2])


def _is_whole_key(connection: sqlite3.Connection, index: str, terms: str) -> bool:
    """Whether *terms*, `a=? AND b=?`, name every column of a unique index."""
    unique = connection.execute(
        'SELECT l."unique" AND NOT l.partial FROM sqlite_schema AS s, pragma_index_list(s.tbl_name) AS l '
        "WHERE s.type = 'index' AND s.name = ? AND l.name = ?",
        (index, index),
    ).fetchone()
    columns = connection.execute("SELECT count(*) FROM pragma_index_info(?)", (index,)).fetchone()[0]
    return bool(unique and unique[0]) and terms.count("=?") == columns
