"""The guarded twins of the two SQL dialects: their compilers write every table as its permitted rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import null, select, types
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGIdentifierPreparer_asyncpg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteIdentifierPreparer
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import InsertmanyvaluesSentinelOpts

from toque.store.constraints import FORBIDDEN_SETTING
from toque.store.dialects import Postgres, Sqlite, options
from toque.store.facts import Known
from toque.store.guard import Guard, refuse
from toque.store.guarded_writing import Writing
from toque.store.refusing import Refusing, Unquoted
from toque.store.sqlite_errors import FORBIDDEN_FUNCTION

__all__ = ["guarded"]


class _Guarded(Refusing, Writing):
    """What both compilers have; MRO: refuse first, then write, then read, then SQLAlchemy."""

    def __init__(self, dialect: Any, statement: Any, **kw: Any) -> None:
        self.guard = dialect.guard
        self._inserting = []
        if statement is not None:
            self.refuse_foreign(statement)
        super().__init__(dialect, statement, **kw)

    @property
    def _bind_processors(self) -> Any:
        """Without those of facts, which stay themselves until the store fills them in."""
        known = {name for name, bind in self.binds.items() if isinstance(bind, Known)}
        return {name: process for name, process in super()._bind_processors.items() if name not in known}


class _SqliteCompiler(_Guarded, SQLiteCompiler):  # type: ignore[misc]
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


class _PostgresCompiler(_Guarded, PGCompiler_asyncpg):  # type: ignore[misc]
    # The time of day makes it volatile: what is constant may be evaluated while the statement is planned.
    refusal = (
        f"CAST(current_setting('{FORBIDDEN_SETTING}' || substr(CAST(clock_timestamp() AS TEXT), 1, 0)) AS BOOLEAN)"
    )
    true = "true"

    def typed(self, text: str, column: Any) -> str:
        with self.trust(self.trusted + 1):
            return str(
                self.render_bind_cast(column.type, column.type._unwrapped_dialect_impl(self.dialect), f"({text})")
            )

    converted = typed

    def given_values(self, rows: str, names: list[str]) -> tuple[str, list[str]]:
        return self._given(f"(VALUES ({rows}))", names)

    def given_select(self, select: str, names: list[str]) -> tuple[str, list[str]]:
        return self._given(f"({select})", names)

    def _given(self, rows: str, names: list[str]) -> tuple[str, list[str]]:
        quoted = [self.preparer.quote(name) for name in names]
        return f"{rows} AS given({', '.join(quoted)})", [f"given.{name}" for name in quoted]


class _SqlitePreparer(Unquoted, SQLiteIdentifierPreparer):
    pass


class _PostgresPreparer(Unquoted, PGIdentifierPreparer_asyncpg):
    pass


class _NoDdl:
    """In the place of the compiler of CREATE, DROP and the like."""

    def __init__(self, dialect: Any, statement: Any, **kw: Any) -> None:
        refuse(f"{type(statement).__name__} changes the schema.", "Write a migration: toque db revision.")


class _GuardedSqlite(Sqlite):
    supports_statement_cache = True
    statement_compiler: Any = _SqliteCompiler
    preparer = _SqlitePreparer
    ddl_compiler: Any = _NoDdl
    guard: Guard


class _GuardedPostgres(Postgres):
    supports_statement_cache = True
    statement_compiler: Any = _PostgresCompiler
    preparer = _PostgresPreparer
    ddl_compiler: Any = _NoDdl
    # Its form has no place for what is stamped; without it, SQLAlchemy's session inserts row by row where it wants
    # the new keys in order.
    insertmanyvalues_implicit_sentinel = InsertmanyvaluesSentinelOpts.NOT_SUPPORTED
    guard: Guard


def guarded(name: str, guard: Guard) -> Dialect:
    """The dialect *name*, `sqlite` or `postgresql`, whose statements *guard* has looked at."""
    make: Any = {"sqlite": _GuardedSqlite, "postgresql": _GuardedPostgres}[name]
    dialect: Any = make(**options(name))
    dialect.guard = guard
    result: Dialect = dialect
    return result
