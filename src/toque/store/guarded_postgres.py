"""The guarded twin of PostgreSQL's dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGIdentifierPreparer_asyncpg
from sqlalchemy.sql.compiler import InsertmanyvaluesSentinelOpts

from toque.store.constraints import FORBIDDEN_SETTING
from toque.store.guard import Guard
from toque.store.guarded_dialects import GuardedCompiler, NoDdl
from toque.store.postgres_dialect import Postgres
from toque.store.refusing import Unquoted

__all__ = ["GuardedPostgres"]


class _PostgresCompiler(GuardedCompiler, PGCompiler_asyncpg):  # type: ignore[misc]
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


class _PostgresPreparer(Unquoted, PGIdentifierPreparer_asyncpg):
    pass


class GuardedPostgres(Postgres):
    supports_statement_cache = True
    statement_compiler: Any = _PostgresCompiler
    preparer = _PostgresPreparer
    ddl_compiler: Any = NoDdl
    # Its form has no place for what is stamped; without it, SQLAlchemy's session inserts row by row where it wants
    # the new keys in order.
    insertmanyvalues_implicit_sentinel = InsertmanyvaluesSentinelOpts.NOT_SUPPORTED
    guard: Guard
