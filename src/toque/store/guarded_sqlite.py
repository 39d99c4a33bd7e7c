"""The guarded twin of SQLite's dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import null, select, types
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteIdentifierPreparer

from toque.store.guard import Guard
from toque.store.guarded_dialects import GuardedCompiler, NoDdl
from toque.store.refusing import Unquoted
from toque.store.sqlite_dialect import Sqlite
from toque.store.sqlite_errors import FORBIDDEN_FUNCTION

__all__ = ["GuardedSqlite"]


class _SqliteCompiler(GuardedCompiler, SQLiteCompiler):  # type: ignore[misc]
    refusal = f"{FORBIDDEN_FUNCTION}()"
    true = "1"
    # SQLite changes one row and then looks at the next, whose rule may be about the first. It finds all rows, and what
    # they become, before it changes one where there is a FROM (https://www.sqlite.org/lang_update.html, 2.2).
    at_once = select(null().label("at_once")).subquery("toque_at_once")

    # Values are compared within rules as the columns that they go to would be: by the affinity of their type
    # (https://www.sqlite.org/datatype3.html, 3.1). Times and documents are texts that NUMERIC would spoil.
    _AFFINITIES = (
        (types.Boolean, "INTEGER"),
        (types.Integer, "INTEGER"),
        (types.Float, "REAL"),
        (types.Numeric, "NUMERIC"),
        (types.String, "TEXT"),
    )

    def typed(self, text: str, column: Any) -> str:
        affinity = column.type._type_affinity or object
        name = next((name for kind, name in self._AFFINITIES if issubclass(affinity, kind)), None)
        return text if name is None else f"CAST({text} AS {name})"

    def converted(self, text: str, column: Any) -> str:
        return text

    def given_values(self, rows: str, names: list[str]) -> tuple[str, list[str]]:
        return f"(VALUES ({rows})) AS given", [f"given.column{number}" for number, _ in enumerate(names, 1)]

    def given_select(self, select: str, names: list[str]) -> tuple[str, list[str]]:
        # SQLite names no columns of a subquery from outside; the first SELECT of a UNION names them.
        quoted = [self.preparer.quote(name) for name in names]
        head = ", ".join(f"NULL AS {name}" for name in quoted)
        both = f"SELECT {head} WHERE 0 UNION ALL SELECT * FROM ({select})"  # noqa: S608 - of parts that are SQL already
        return f"({both}) AS given", [f"given.{name}" for name in quoted]


class _SqlitePreparer(Unquoted, SQLiteIdentifierPreparer):
    pass


class GuardedSqlite(Sqlite):
    supports_statement_cache = True
    statement_compiler: Any = _SqliteCompiler
    preparer = _SqlitePreparer
    ddl_compiler: Any = NoDdl
    guard: Guard
