"""The guarded twins of the two SQL dialects: their compilers write every table as its permitted rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Dialect

from toque.store.dialects import options
from toque.store.facts import Known
from toque.store.guard import Guard, refuse
from toque.store.guarded_writing import Writing
from toque.store.refusing import Refusing

__all__ = ["GuardedCompiler", "NoDdl", "guarded"]


class GuardedCompiler(Refusing, Writing):
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


class NoDdl:
    """In the place of the compiler of CREATE, DROP and the like."""

    def __init__(self, dialect: Any, statement: Any, **kw: Any) -> None:
        refuse(f"{type(statement).__name__} changes the schema.", "Write a migration: toque db revision.")


def guarded(name: str, guard: Guard) -> Dialect:
    """The dialect *name*, `sqlite` or `postgresql`, whose statements *guard* has looked at."""
    dialect: Any = _twin_of(name)(**options(name))
    dialect.guard = guard
    result: Dialect = dialect
    return result


def _twin_of(name: str) -> Any:
    if name == "sqlite":
        from toque.store.guarded_sqlite import GuardedSqlite

        return GuardedSqlite
    from toque.store.guarded_postgres import GuardedPostgres

    return GuardedPostgres
