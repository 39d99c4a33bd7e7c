"""A rule as SQL text that a database keeps and applies by itself, facts included.

The text is made by SQLAlchemy's own compiler from the very expression that a model declares, so the second wall cannot
say something else than the first. A rule stands where the row's table is in sight: its columns are written
`table.column`, and its subqueries find it outside of themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import literal_column, select
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.compiler import SQLCompiler

from toque.store.dialects import postgresql
from toque.store.facts import Fact
from toque.store.rows import Guarded, declared

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table
    from sqlalchemy.engine import Dialect

    from toque.store.rows import Rule

__all__ = ["RuleWriter", "Written", "sensitive", "tables_read"]

WriteFact = Callable[[Fact], str]


class Written(NamedTuple):
    """A rule as text."""

    text: str
    reads: frozenset[str]
    """The tables that its subqueries read."""


def sensitive(metadata: MetaData) -> list[Guarded]:
    """The rules of the tables whose rules the database enforces too."""
    found = (declared(table) for table in metadata.sorted_tables)
    return [rules for rules in found if isinstance(rules, Guarded) and rules.is_sensitive]


def tables_read(element: Any, around: Sequence[Any]) -> frozenset[str]:
    """The tables that the subqueries in *element* read, where it stands in a statement about *around*."""
    context: Any = select(literal_column("1")).select_from(*around)
    everything = [_reader()(postgresql(), statement).tables_read for statement in (context.where(element), context)]
    return frozenset((Counter(everything[0]) - Counter(everything[1])).keys())


class RuleWriter:
    """Writes rules for one kind of database.

    Args:
        write_fact: a fact about the caller, as SQL that the database evaluates by itself.
        schema: where a rule's subqueries find their tables, where the names alone would lead elsewhere.
    """

    def __init__(self, dialect: Dialect, write_fact: WriteFact, schema: str = "") -> None:
        self.dialect = dialect
        self._compiler = _compiler(dialect.statement_compiler, write_fact, schema)

    def write(self, rule: Rule, table: Table) -> Written:
        """*rule* about the rows of *table*.

        Raises: TypeError where it holds a value that SQL has no literal for.
        """
        # The subject stands in FROM, so that the rule's subqueries correlate with it; only what follows is kept.
        statement: Any = select(literal_column("1")).select_from(table).where(rule)
        try:
            compiled = self._compiler(self.dialect, statement, compile_kwargs={"literal_binds": True})
        except CompileError as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(
                f"a rule of table {table.name!r} cannot be kept by the database: {reason}. "
                "Compare with columns, facts, and plain values: text, numbers, dates, members of enums."
            ) from error
        found: list[str] = compiled.tables_read
        found.remove(table.name)
        return Written(compiled.string.partition("WHERE ")[2].strip() or "true", frozenset(found))


@cache
def _reader() -> Any:
    """A compiler whose text nobody reads: it notes the tables, and takes any value."""

    class Reader(_TableReader, postgresql().statement_compiler):  # type: ignore[misc]
        pass

    return Reader


class _TableReader:
    """A compiler's part that notes the tables it meets where they are read from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # SQLAlchemy's compilers compile while they are made.
        self.tables_read: list[str] = []
        super().__init__(*args, **kwargs)

    def visit_table(self, table: Any, *args: Any, **kwargs: Any) -> str:
        if kwargs.get("asfrom"):
            self.tables_read.append(table.name)
        compiler: Any = super()
        return str(compiler.visit_table(table, *args, **kwargs))


def _compiler(base: type[SQLCompiler], write_fact: WriteFact, schema: str) -> Any:
    class RuleCompiler(_TableReader, base):  # type: ignore[valid-type, misc]
        def visit_bindparam(self, bindparam: Any, *args: Any, **kwargs: Any) -> str:
            if isinstance(bindparam, Fact):
                return write_fact(bindparam)
            if bindparam.callable is not None or bindparam.required:
                raise CompileError(f"the value of {bindparam.key!r} is not known before a statement runs")
            return str(super().visit_bindparam(bindparam, *args, **kwargs))

        def visit_table(self, table: Any, *args: Any, **kwargs: Any) -> str:
            text = super().visit_table(table, *args, **kwargs)
            return f"{schema}.{text}" if kwargs.get("asfrom") and schema and not table.schema else text

    return RuleCompiler
