"""What a row that is written must satisfy, and how that is said in SQL.

Values are put into the rule in the place of their columns, as the SQL that they are written with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import visitors
from sqlalchemy.sql.schema import Column

from toque.store.guard import refuse, written_table
from toque.store.guarded_reading import Reading, Written
from toque.store.rows import Guarded, Rule

__all__ = ["Requiring", "columns_of", "refuse_stamped", "replaced"]


class Requiring(Reading):
    """The part of a guarded compiler that says what a row must satisfy."""

    refusal: str
    """An expression that fails when, and only when, it is evaluated."""
    true: str

    def typed(self, text: str, column: Any) -> str:
        """The value *text* as a value of *column*'s type."""
        raise NotImplementedError

    def converted(self, text: str, column: Any) -> str:
        """The value *text* as it is stored in *column*."""
        raise NotImplementedError

    def required(self, condition: str) -> str:
        return f"CASE WHEN {condition} THEN {self.true} ELSE {self.refusal} END"

    def after(self, rules: Guarded, rule: Rule, written: Mapping[str, str]) -> str:
        """*rule* about the row that *written* makes."""
        return self.rule(replaced(rule, rules.table, written), rules.table)

    def rules_for(self, statement: Any) -> Any:
        """The rules of the table that *statement* writes. Raises: Refused unless that is a table of the app."""
        table = written_table(statement)
        if not isinstance(table, Table):
            refuse(f"a statement writes {table!r}.", "Write to the model or its table, not to a stand-in.")
        real, rules = self.guard.find(table)
        if real is not table:
            refuse(f"a statement writes a stand-in of the table {real.name!r}.", "Write to the table itself.")
        return rules


def columns_of(rule: Rule, table: Table) -> set[str]:
    """The keys of the columns of *table* that *rule* is about."""
    found: Iterator[Any] = visitors.iterate(rule)
    return {element.key for element in found if _is_column_of(table, element)}


def _is_column_of(table: Table, element: Any) -> bool:
    return isinstance(element, Column) and element.table is not None and element.table._deannotate() is table


def replaced(rule: Rule, table: Table, written: Mapping[str, str]) -> Rule:
    """*rule* with what is *written* to each column of *table* in the column's place."""

    def value_for(element: Any, **_: Any) -> Any:
        if _is_column_of(table, element) and element.key in written:
            return Written(written[element.key], element.type)
        return None

    replaced: Rule = visitors.replacement_traverse(rule, {}, value_for) if written else rule
    return replaced


def refuse_stamped(rules: Guarded, column: Any) -> None:
    if column.key in rules.stamp:
        refuse(
            f"a statement changes {rules.table.name}.{column.name}, which says whose row it is.",
            "It is written when the row is inserted, and never again; leave it out.",
        )
