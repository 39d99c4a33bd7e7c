"""The tables, conditions and facts of a statement, taken down by a compiler while it writes the statement.

Whatever a statement is built of, each table that it reads passes the compiler's `visit_table`, and each SELECT passes
with its FROM and WHERE resolved: ORM entities, relationships, and the row rules that the guarded compiler adds. So what
is written is what is tracked. A table that is written more often than it was understood counts as read whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import types
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors

from toque.cache.keys import key_of, keys_of
from toque.cache.predicates import Source, Template
from toque.cache.scopes import Known, templates_of
from toque.store.facts import Fact
from toque.store.rows import Guarded
from toque.store.sql import FUNCTIONS, OPERATORS

__all__ = ["tracking"]

# A mixin for SQLAlchemy's compilers, whose methods have types that no subclass could keep to.
_Compiler: Any = object


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLOCK = _words("""
    age clock_timestamp current_date current_time current_timestamp date datetime gen_random_uuid julianday localtime
    localtimestamp now random statement_timestamp strftime time timediff transaction_timestamp unixepoch
""")
"""Functions whose answer changes although no row does: chance and the clock. SQLite's functions of time are all here,
because 'now' may be among their arguments."""

_OWN_LITERALS = frozenset({"*", "1", "0", "'%'"})
"""What SQLAlchemy itself writes as text."""


class Tracking(_Compiler):  # type: ignore[misc]
    """The part of a compiler that takes down what is read."""

    templates: list[Template]
    facts: set[tuple[str, tuple[str, ...]]]
    """What was asked about the caller."""
    untrackable: list[str]
    """Why no read set can tell when this answer changes; empty where one can."""

    def __init__(self, dialect: Any, statement: Any, **kw: Any) -> None:
        self.templates, self.facts, self.untrackable = [], set(), []
        self._read: Counter[str] = Counter()
        self._understood: Counter[str] = Counter()
        for element in visitors.iterate(statement):
            if hasattr(type(element), "_compiler_dispatcher"):
                self.untrackable.append(f"{type(element).__name__} writes its own SQL")
        super().__init__(dialect, statement, **kw)
        self.templates += [Template(table) for table, times in self._read.items() if times > self._understood[table]]

    # What is read.

    def visit_table(self, table: Any, asfrom: bool = False, **kw: Any) -> Any:
        if asfrom or kw.get("within_tstring"):
            self._read[table.fullname] += 1
        return super().visit_table(table, asfrom=asfrom, **kw)

    def _compose_select_body(self, text: Any, select: Any, state: Any, columns: Any, froms: Any, *rest: Any) -> Any:
        written = super()._compose_select_body(text, select, state, columns, froms, *rest)
        # Only now all values have their names.
        templates, members = templates_of(froms, select._where_criteria, self._known, self._find)
        self.templates += templates
        self._understood.update(member.known.name for member in members)
        if select._for_update_arg is not None:
            self.untrackable.append("it locks what it reads")
        return written

    def _known(self, table: Any) -> Known:
        guard: Any = getattr(self, "guard", None)
        # Within a rule stands what its author wrote.
        if guard is None or getattr(self, "trusted", 0) > 0:
            return _known(table, self.dialect.name)
        real, rules = guard.find(table)
        known = _known(real, self.dialect.name)
        if not isinstance(rules, Guarded):
            return known
        return known._replace(rule=rules.read, hidden=frozenset(rules.hidden), table=rules.table)

    def _find(self, bind: Any) -> Source | None:
        kind = _kind(bind.type, self.dialect.name)
        if isinstance(bind, Fact):
            return Source(fact=bind, kind=kind)
        name = self.bind_names.get(bind)
        return None if name is None else Source(str(name), kind=kind)

    def visit_bindparam(self, bindparam: Any, *args: Any, **kw: Any) -> Any:
        if isinstance(bindparam, Fact):
            self.facts.add((bindparam.about, bindparam.names))
        return super().visit_bindparam(bindparam, *args, **kw)

    # What cannot be tracked.

    def visit_textclause(self, textclause: Any, *args: Any, **kw: Any) -> Any:
        self._refuse_text(textclause.text)
        return super().visit_textclause(textclause, *args, **kw)

    def visit_textual_select(self, select: Any, *args: Any, **kw: Any) -> Any:
        self.untrackable.append("it is a text, into which nobody looks")
        return super().visit_textual_select(select, *args, **kw)

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        if column.is_literal:
            self._refuse_text(str.__str__(column.name))
        return super().visit_column(column, *args, **kw)

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> Any:
        name = str.__str__(func.name).lower()
        if name in CLOCK:
            self.untrackable.append(f"{name}() has another answer each time")
        elif name not in FUNCTIONS[self.dialect.name] or func.packagenames:
            self.untrackable.append(f"nobody knows what the function {name}() reads")
        return super().visit_function(func, *args, **kw)

    def visit_custom_op_binary(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._refuse_operator(operator)
        return super().visit_custom_op_binary(element, operator, **kw)

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._refuse_operator(operator)
        return super().visit_custom_op_unary_operator(element, operator, **kw)

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._refuse_operator(operator)
        return super().visit_custom_op_unary_modifier(element, operator, **kw)

    def visit_cast(self, cast: Any, **kw: Any) -> Any:
        is_time = isinstance(cast.type, (types.Date, types.DateTime, types.Time))
        if is_time and not isinstance(cast.clause.type, (types.Date, types.DateTime, types.Time)):
            self.untrackable.append("a text that becomes a time may say 'now'")
        return super().visit_cast(cast, **kw)

    def visit_sequence(self, sequence: Any, **kw: Any) -> Any:
        self.untrackable.append(f"it takes a number from {sequence.name}")
        return super().visit_sequence(sequence, **kw)

    def visit_tablesample(self, tablesample: Any, **kw: Any) -> Any:
        self.untrackable.append("TABLESAMPLE has another answer each time")
        return super().visit_tablesample(tablesample, **kw)

    def visit_tstring(self, *args: Any, **kw: Any) -> Any:
        self.untrackable.append("it is a text, into which nobody looks")
        return super().visit_tstring(*args, **kw)

    def _generate_prefixes(self, stmt: Any, prefixes: Any, **kw: Any) -> Any:
        if not all(str(getattr(prefix, "text", "")).upper().endswith("MATERIALIZED") for prefix, _ in prefixes):
            self.untrackable.append("it has a prefix or suffix, into which nobody looks")
        return super()._generate_prefixes(stmt, prefixes, **kw)

    def visit_insert(self, *args: Any, **kw: Any) -> Any:
        self.untrackable.append("it writes")
        return super().visit_insert(*args, **kw)

    def visit_update(self, *args: Any, **kw: Any) -> Any:
        self.untrackable.append("it writes")
        return super().visit_update(*args, **kw)

    def visit_delete(self, *args: Any, **kw: Any) -> Any:
        self.untrackable.append("it writes")
        return super().visit_delete(*args, **kw)

    def _refuse_text(self, text: str) -> None:
        if text not in _OWN_LITERALS:
            self.untrackable.append(f"nobody looks into the text {text[:60]!r}")

    def _refuse_operator(self, operator: Any) -> None:
        if operator.opstring not in OPERATORS[self.dialect.name]:
            self.untrackable.append(f"nobody knows what the operator {operator.opstring!r} reads")


def tracking(dialect: Dialect) -> Dialect:
    """A dialect that writes what *dialect* writes, by compilers that track."""
    kind: Any = type(dialect)
    twin: Any = _twin(kind).__new__(_twin(kind))
    twin.__dict__.update(dialect.__dict__)
    twin.statement_compiler = _twin(kind).statement_compiler
    result: Dialect = twin
    return result


@cache
def _twin(kind: Any) -> Any:
    compiler = type(f"Tracking{kind.statement_compiler.__name__}", (Tracking, kind.statement_compiler), {})
    return type(f"Tracking{kind.__name__}", (kind,), {"statement_compiler": compiler, "supports_statement_cache": True})


def _known(table: Any, dialect_name: str) -> Known:
    """What is known about *table*; nothing but its name where it is not a declared one."""
    if not hasattr(table, "constraints"):
        return Known(table.fullname, {}, {})
    columns: Mapping[str, tuple[str, str]] = {
        column.key: (str.__str__(column.name), _kind(column.type, dialect_name)) for column in table.c
    }
    return Known(table.fullname, keys_of(table, dialect_name), columns)


def _kind(type_: Any, dialect_name: str) -> str:
    """The kind of `Key` by which values of this type are compared; empty where there is none."""
    key = key_of(type_, dialect_name)
    return "" if key is None else key.kind
