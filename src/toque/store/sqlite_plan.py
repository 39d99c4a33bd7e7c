"""Whether a statement is proven cheap, and may so run in the event loop's own thread.

A statement by key takes microseconds; handing it to a thread would cost several times that. The proof is SQLite's
own plan: every table is searched by its whole primary key or a whole unique index, or by an index under a
LIMIT, and nothing is scanned or sorted; an INSERT of values has no plan at all. What the plan does not show, triggers
say, `Budget` stops. Source: https://www.sqlite.org/eqp.html.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from math import inf
from time import perf_counter
from typing import Any

__all__ = ["IN_LOOP", "IN_THREAD", "Budget", "OverBudget", "is_cheap", "lane_of"]

# Where a statement runs, kept in `Prepared.lane`.
IN_LOOP, IN_THREAD = 1, 2
# How long a statement may hold up the loop before it is stopped and sent to a thread, for good: below the 5
# ms that Python lets a thread hold the interpreter anyway.
BUDGET_S = 0.002
# SQLite looks at the clock every so many instructions of its virtual machine. A read by key has about 15.
INSTRUCTIONS_PER_LOOK = 1000

# `IN (...)` by key is one search per value: this many are still far below a millisecond.
ARGUMENTS_MAX = 64

_ROWID = re.compile(r"SEARCH \S+ USING INTEGER PRIMARY KEY \(rowid=\?\)( LEFT-JOIN)?$")
_INDEX = re.compile(r"SEARCH \S+ USING (?:COVERING )?INDEX (\S+) \((.*)\)( LEFT-JOIN)?$")
_ROWS = re.compile(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_INSERT = re.compile(r"\s*INSERT\b", re.IGNORECASE)
_LIMIT = re.compile(r"\bLIMIT (\?|\d+)")


class OverBudget(Exception):
    """A statement took longer than the loop can spare."""


class Budget:
    """Stops what *connection* runs in the loop when it takes too long."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_on = False
        self._looked_at = inf

    def begin(self) -> None:
        """What is run from now on is run in the loop, and stopped if it takes too long."""
        self._looked_at = 0.0
        if not self._is_on:
            self._connection.set_progress_handler(self._look, INSTRUCTIONS_PER_LOOK)
            self._is_on = True

    def end(self) -> None:
        """It has ended; what follows, the end of a transaction say, is not stopped."""
        self._looked_at = inf

    def leave_loop(self) -> None:
        """What follows runs in a thread, where looking would only fight for the interpreter lock."""
        if self._is_on:
            self._connection.set_progress_handler(None, 0)
            self._is_on = False

    def _look(self) -> bool:
        now = perf_counter()
        if not self._looked_at:
            self._looked_at = now
        return now - self._looked_at > BUDGET_S


def lane_of(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> int:
    return IN_LOOP if is_cheap(connection, sql, arguments) else IN_THREAD


def is_cheap(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> bool:
    if len(arguments) > ARGUMENTS_MAX or _ROWS.match(sql) is None:
        return False
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]
    if not plan:
        return _INSERT.match(sql) is not None
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
