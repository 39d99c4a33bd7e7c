"""What a guarded compiler refuses: every way to bring SQL along that nobody declared to be safe.

SQLAlchemy builds statements from parts. Most parts are harmless whatever they hold, because the rules stand around each
table. The others are texts, names and types that it writes as they come.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import CTE, types
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase

from toque.store.facts import Fact, Known
from toque.store.guard import Guard, refuse
from toque.store.guarded_reading import Compiler, May
from toque.store.sql import COLLATIONS, FIELDS, FUNCTIONS, OPERATORS

__all__ = ["Refusing", "Unquoted"]

_IN_APP = "declare it: App(..., sql=Sql({}={{{!r}}}))."
_CTE_PREFIXES = frozenset({"MATERIALIZED", "NOT MATERIALIZED"})
_OWN_LITERAL = re.compile(r"\*|\d+|'%'")
# How a fact is called as a bind; nobody else's bind is.
_FACT = re.compile(r"me_(subject|tenant|authenticated|role|scope|claim)(_\d+)?$")


class Refusing(Compiler):  # type: ignore[misc]
    """The part of a guarded compiler that refuses."""

    guard: Guard
    trusted: int
    asked: May | None

    def refuse_foreign(self, statement: Any) -> None:
        """Refuse elements that write themselves: SQLAlchemy's `compiles`."""
        for element in visitors.iterate(statement):
            if isinstance(element, May):
                self.asked = element
            if hasattr(type(element), "_compiler_dispatcher"):
                refuse(
                    f"{type(element).__name__} writes its own SQL.",
                    "Use what SQLAlchemy has, or a text() and " + _in_app("texts", "..."),
                )

    # Texts.

    def visit_textclause(self, textclause: Any, *args: Any, **kw: Any) -> Any:
        if not self.trusted:
            self._allow_text(textclause.text)
        return super().visit_textclause(textclause, *args, **kw)

    def visit_textual_select(self, select: Any, *args: Any, **kw: Any) -> Any:
        if not self.trusted:
            self._allow_text(getattr(select.element, "text", ""))
        return super().visit_textual_select(select, *args, **kw)

    def visit_tstring(self, *args: Any, **kw: Any) -> Any:
        refuse("a statement holds a template string.", "Build it with select() and its like.")

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        if column.is_literal and not self.trusted:
            self._allow_literal(str.__str__(column.name))
        return super().visit_column(column, *args, **kw)

    def visit_fromclause(self, fromclause: Any, **kw: Any) -> Any:
        refuse(f"a statement holds {type(fromclause).__name__}, which is written as it comes.", "Use a table.")

    def visit_index(self, index: Any, **kw: Any) -> Any:
        refuse("a statement holds an index.", "Name its columns.")

    def _allow_literal(self, text: str) -> None:
        """SQLAlchemy itself writes `*`, numbers and '%'; but all of a row that is written is more than is permitted."""
        is_written = bool(self.stack) and isinstance(self.stack[-1]["selectable"], UpdateBase)
        if not _OWN_LITERAL.fullmatch(text) or (text == "*" and is_written):
            self._allow_text(text)

    def _allow_text(self, text: str) -> None:
        if text not in self.guard.sql.texts:
            refuse(
                f"a statement holds the text {_short(text)!r}.",
                "Build it with select() and its like, or " + _in_app("texts", "..."),
            )

    # Names.

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> Any:
        if not self.trusted:
            name = str.__str__(func.name).lower()
            known = FUNCTIONS[self.dialect.name] | self.guard.sql.functions
            if name not in known or func.packagenames:
                full = ".".join((*func.packagenames, func.name))
                refuse(
                    f"the function {full!r} is not known to be harmless.",
                    "If it is, " + _in_app("functions", full),
                    name,
                    known,
                )
        return super().visit_function(func, *args, **kw)

    def visit_custom_op_binary(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._allow_operator(operator)
        return super().visit_custom_op_binary(element, operator, **kw)

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._allow_operator(operator)
        return super().visit_custom_op_unary_operator(element, operator, **kw)

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._allow_operator(operator)
        return super().visit_custom_op_unary_modifier(element, operator, **kw)

    def _allow_operator(self, operator: Any) -> None:
        known = OPERATORS[self.dialect.name] | self.guard.sql.operators
        if not self.trusted and operator.opstring not in known:
            refuse(
                f"the operator {operator.opstring!r} is not known to be harmless.",
                "If it is, " + _in_app("operators", operator.opstring),
            )

    def visit_collation(self, element: Any, **kw: Any) -> Any:
        known = COLLATIONS[self.dialect.name] | self.guard.sql.collations
        if not self.trusted and str.__str__(element.collation) not in known:
            refuse(
                f"the collation {element.collation!r} is not known.",
                "If it is harmless, " + _in_app("collations", element.collation),
                element.collation,
                known,
            )
        return super().visit_collation(element, **kw)

    def visit_extract(self, extract: Any, **kw: Any) -> Any:
        if str.__str__(extract.field) not in FIELDS:
            refuse(
                f"extract() has no field {_short(extract.field)!r}.", "Take one of PostgreSQL's.", extract.field, FIELDS
            )
        return super().visit_extract(extract, **kw)

    def visit_sequence(self, sequence: Any, **kw: Any) -> Any:
        is_default = any(column.default is sequence for table, _ in self.guard.tables.values() for column in table.c)
        if not self.trusted and not is_default:
            refuse(f"a statement takes a number from the sequence {sequence.name!r}.", "Make it a column's default.")
        return super().visit_sequence(sequence, **kw)

    # Prefixes, suffixes, hints.

    def _generate_prefixes(self, stmt: Any, prefixes: Any, **kw: Any) -> Any:
        for prefix, _ in prefixes:
            text = getattr(prefix, "text", "")
            if self.trusted:
                continue
            if text not in self.guard.sql.texts and not (isinstance(stmt, CTE) and text.upper() in _CTE_PREFIXES):
                refuse(
                    f"a statement has the prefix or suffix {_short(text)!r}.",
                    "Do without, or " + _in_app("texts", text),
                )
        with self.trust(self.trusted + 1):
            return super()._generate_prefixes(stmt, prefixes, **kw)

    def _setup_select_hints(self, select: Any) -> Any:
        refuse("a statement has a hint for a table.", "Do without.")

    def _setup_crud_hints(self, stmt: Any, table_text: Any) -> Any:
        refuse("a statement has a hint for its table.", "Do without.")

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        refuse("a statement has a hint.", "Do without.")

    # Values and types.

    def visit_bindparam(self, bindparam: Any, **kw: Any) -> Any:
        if isinstance(bindparam, Known):
            refuse("a statement holds a fact that a rule asks about.", "Take the principal's attribute as a value.")
        if isinstance(bindparam, Fact):
            if not self.trusted:
                refuse(
                    "a statement asks what is known about its caller, as only rules may.",
                    "Ask for Principal, and take its attribute as a value.",
                )
            return super().visit_bindparam(bindparam.known, **kw)
        if not self.trusted:
            self._allow_bind(bindparam)
        return super().visit_bindparam(bindparam, **kw)

    def _allow_bind(self, bindparam: Any) -> None:
        if bindparam.literal_execute:
            refuse(f"the value {bindparam.key!r} is to be written into the text.", "Leave literal_execute out.")
        if not bindparam.unique and _FACT.match(bindparam.key):
            refuse(f"a parameter is called {bindparam.key!r}, like a fact about the caller.", "Give it another name.")

    def visit_override_binds(self, override_binds: Any, **kw: Any) -> Any:
        text = super().visit_override_binds(override_binds, **kw)
        if any(isinstance(self.binds.get(key), Known) for key in override_binds.translate):
            refuse("a statement gives a fact about the caller another value.", "Leave it as it is.")
        return text

    def visit_values(self, element: Any, **kw: Any) -> Any:
        if element.literal_binds:
            refuse("values() are to be written into the text.", "Leave literal_binds out.")
        return super().visit_values(element, **kw)

    def visit_typeclause(self, typeclause: Any, **kw: Any) -> Any:
        self._allow_type(typeclause.type)
        return super().visit_typeclause(typeclause, **kw)

    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: str) -> Any:
        self._allow_type(dbapi_type)
        return super().render_bind_cast(type_, dbapi_type, sqltext)

    def _allow_type(self, declared: Any) -> None:
        """Refuse types whose SQL may hold a text of their author's."""
        if self.trusted:
            return
        kind = declared._variant_mapping.get(self.dialect.name, declared)
        found = kind.dialect_impl(self.dialect) if isinstance(kind, types.TypeDecorator) else kind
        is_known = type(found).__module__.startswith(("sqlalchemy.", "toque.store.")) or type(kind) in self.guard.types
        sizes = [getattr(found, name, None) for name in ("length", "precision", "scale", "fields")]
        is_plain = all(size is None or isinstance(size, int) for size in sizes) and self._is_known_collation(found)
        item = getattr(found, "item_type", None)
        if not is_known or not is_plain or hasattr(type(found), "_compiler_dispatcher"):
            refuse(
                f"a value is cast to {type(declared).__name__}.",
                "Use SQLAlchemy's own types, or one that a model's column has.",
            )
        if item is not None:
            self._allow_type(item)

    def _is_known_collation(self, tp: Any) -> bool:
        """Whether a type has no collation, or one of the database's, the app's or a column's."""
        collation = getattr(tp, "collation", None)
        known = COLLATIONS[self.dialect.name] | self.guard.sql.collations | self.guard.collations
        return collation is None or str.__str__(collation) in known


class Unquoted:
    """An identifier preparer that looks at a name alone: `quoted_name(..., quote=False)` is a name like any other."""

    def quote(self, ident: Any) -> Any:
        named: Any = super()
        return named.quote(str.__str__(ident) if getattr(ident, "quote", None) is False else ident)

    def quote_schema(self, schema: Any) -> Any:
        return self.quote(schema)


def _in_app(what: str, name: str) -> str:
    return _IN_APP.format(what, str(name))


def _short(text: Any) -> str:
    # The end of a long text tells a reader nothing more.
    return str(text)[:60]
