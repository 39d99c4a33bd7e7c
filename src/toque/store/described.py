"""A table's rules for people: in words, and in the SQL of the app's database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter

from toque.store.facts import Fact
from toque.store.guard import Guard
from toque.store.guarded_dialects import guarded
from toque.store.guarded_reading import Written
from toque.store.rows import Guarded, Rule, Shared

__all__ = ["rules_of"]

Line = tuple[str, str, str]
"""Which rule, in words, in SQL."""


def rules_of(guard: Guard, name: str, dialect_name: str) -> list[Line] | None:
    """The rules of the table, or of the model of the table, called *name*; None where there is none."""
    wanted = name.replace("_", "").casefold()
    for table, rules in guard.tables.values():
        if table.name.replace("_", "").casefold() == wanted:
            return list(_lines(rules, guarded(dialect_name, guard), guarded("postgresql", guard)))
    return None


def _lines(rules: Guarded | Shared, dialect: Any, plain: Any) -> Iterator[Line]:
    if isinstance(rules, Shared):
        yield "rows", "everybody's", "shared=True"
        return
    actions = {"read": rules.read, "insert": rules.insert, "change": rules.change, "delete": rules.delete}
    hidden = {f"see and set {key}": rule for key, rule in rules.hidden.items()}
    for name, rule in {**actions, **hidden}.items():
        yield name, _written(_in_words(rule), rules, plain), _written(rule, rules, dialect)
    for key, fact in rules.stamp.items():
        yield f"stamp {key}", fact.words, "on INSERT, and never changed"


# Words are written as PostgreSQL would: it knows what is true, and SQLite only what is 1.


def _written(rule: Rule, rules: Guarded, dialect: Any) -> str:
    compiler = dialect.statement_compiler(dialect, None)
    text: str = " ".join(compiler.rule(rule, rules.table).split())
    # Parameters get their numbers when a whole statement is done.
    text = text.replace("$[_POSITION]", "?")
    return text.removeprefix("(").removesuffix(")")


def _in_words(rule: Rule) -> Rule:
    """*rule* with what it asks about the caller, and its values, as they are said."""

    def said(element: Any, **_: Any) -> Any:
        if isinstance(element, Fact):
            return Written(element.words, element.type)
        if isinstance(element, BindParameter):
            return Written(repr(element.value), element.type)
        return None

    worded: Rule = visitors.replacement_traverse(rule, {}, said)
    return worded
