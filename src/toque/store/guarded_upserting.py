"""What a guarded compiler makes of an upsert: the row in conflict must be the caller's, before and after."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, and_
from sqlalchemy.sql.elements import ColumnElement

from toque.store.guard import refuse, written_table
from toque.store.guarded_rows import Requiring, columns_of, refuse_stamped, replaced
from toque.store.rows import Guarded, Rule

__all__ = ["Upserting"]


class _Required(ColumnElement[Any]):
    """*value* for *column* where *condition* holds; else the statement fails."""

    __visit_name__ = "required"
    inherit_cache = False

    def __init__(self, table: Table, condition: Rule, value: Any, column: Any) -> None:
        self.table = table
        self.condition = condition
        self.value = value
        self.column = column


class _Upserted(ColumnElement[bool]):
    """What an upsert *asked* of the row in conflict, where that satisfies *rule*; else the statement fails."""

    __visit_name__ = "upserted"
    inherit_cache = False

    def __init__(self, table: Table, rule: Rule, asked: Any) -> None:
        self.table = table
        self.rule = rule
        self.asked = asked


class Upserting(Requiring):
    """The part of a guarded compiler that upserts."""

    def visit_on_conflict_do_update(self, clause: Any, **kw: Any) -> Any:
        statement = self.stack[-1]["selectable"]
        rules = None if self.trusted else self.rules_for(statement)
        if rules is not None and not self.trusted:
            self._refuse_unknown(written_table(statement), clause.update_values_to_set)
        if not isinstance(rules, Guarded):
            return super().visit_on_conflict_do_update(clause, **kw)
        table = rules.table
        named = ((_column(table, key), value) for key, value in clause.update_values_to_set.items())
        values = {column: _typed_bind(value, column) for column, value in named}
        for column in values:
            refuse_stamped(rules, column)
        checked = copy.copy(clause)
        # The rule comes first: a condition about a row that is not the caller's must not be answered.
        checked.update_whereclause = _Upserted(table, rules.both(rules.change), clause.update_whereclause)
        checked.update_values_to_set = self._checked_set(rules, values)
        return super().visit_on_conflict_do_update(checked, **kw)

    def visit_upserted(self, element: _Upserted, **kw: Any) -> str:
        asked = self.true if element.asked is None else self.process(element.asked, **kw)
        return f"CASE WHEN {self.rule(element.rule, element.table)} THEN {asked} ELSE {self.refusal} END"

    def _checked_set(self, rules: Guarded, values: dict[Any, Any]) -> dict[Any, Any]:
        hidden = [rules.hidden[column.key] for column in values if column.key in rules.hidden]
        names = {column.key for column in values}
        is_asked = hidden or not columns_of(rules.change, rules.table).isdisjoint(names)
        if not is_asked:
            return values
        written = {c.key: self.typed(self._set_text(value), c) for c, value in values.items()}
        after = [replaced(rule, rules.table, written) for rule in (rules.change, *hidden)]
        first, value = next(iter(values.items()))
        return {**values, first: _Required(rules.table, and_(*hidden, *after), value, first)}

    def _set_text(self, value: Any) -> str:
        return f"({self.process(value.self_group(), use_schema=False, is_upsert_set=True)})"

    def visit_required(self, element: _Required, **kw: Any) -> str:
        required = self.required(self.rule(element.condition, element.table))
        value = self._set_text(element.value)
        return f"CASE WHEN {required} THEN {self.typed(value, element.column)} END"

    def _refuse_unknown(self, table: Any, keys: Iterable[Any]) -> None:
        """SQLAlchemy writes a name that no column has as it is, and SQLite takes `OWNER` for `owner`."""
        for key in keys:
            if _column(table, key) is None:
                refuse(
                    f"an upsert sets {str(key)!r}, which is no column of {table.name!r}.", "", str(key), table.c.keys()
                )


def _column(table: Any, key: Any) -> Any:
    """The column of *table* that SET names by *key*; None where it has none."""
    if isinstance(key, str):
        return table.c.get(key)
    return key if table.c.get(getattr(key, "key", None)) is key else None


def _typed_bind(value: Any, column: Any) -> Any:
    """A plain value with the type of its column, as SQLAlchemy would make it; once, because it is written twice."""
    is_untyped = getattr(value, "_is_bind_parameter", False) and value.type._isnull
    return value._with_binary_element_type(column.type) if is_untyped else value
