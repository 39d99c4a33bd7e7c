"""What a guarded compiler makes of a write.

A row that is changed or deleted must satisfy the rule before: it joins WHERE. What a row would become must satisfy it
too, and so must a new row: where it does not, the statement itself fails in the database, so nothing that runs it can
overlook the answer. Values are put into the rule in the place of their columns, as the SQL that they are written with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Column
from sqlalchemy.sql.selectable import SelectBase

from toque.store.guard import refuse
from toque.store.guarded_crud import visit_update
from toque.store.guarded_inserting import Inserting
from toque.store.guarded_rows import columns_of, refuse_stamped
from toque.store.guarded_upserting import Upserting
from toque.store.rows import Guarded, Rule

if TYPE_CHECKING:
    Values = list[tuple[Any, str, str, Any]]

__all__ = ["Writing"]


class _Permitted(ColumnElement[bool]):
    """The rule that a row satisfies before it is changed or deleted. It brings no table along but what is *beside*."""

    __visit_name__ = "permitted"
    inherit_cache = False

    def __init__(self, table: Table, rule: Rule, beside: Any = None) -> None:
        self.table = table
        self.rule = rule
        self.beside = beside

    @property
    def _from_objects(self) -> list[Any]:
        return [] if self.beside is None else [self.beside]


class Writing(Inserting, Upserting):
    """The part of a guarded compiler that writes: here UPDATE and DELETE."""

    at_once: Any = None
    """What an UPDATE that asks other rows has in FROM, so that it asks them before it changes any."""

    def visit_permitted(self, element: _Permitted, **kw: Any) -> str:
        return self.rule(element.rule, element.table)

    def visit_update(self, statement: Any, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        if isinstance(rules, Guarded):
            _refuse_in_cte(rules, visiting_cte)
            beside = self.at_once if _asks(rules, statement) else None
            statement = statement.where(_Permitted(rules.table, rules.both(rules.change), beside))
        return visit_update(self, statement, visiting_cte=visiting_cte, **kw)

    def visit_delete(self, statement: Any, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        if isinstance(rules, Guarded):
            _refuse_in_cte(rules, visiting_cte)
            statement = statement.where(_Permitted(rules.table, rules.both(rules.delete)))
        return super().visit_delete(statement, visiting_cte=visiting_cte, **kw)

    def checked_changes(self, rules: Guarded, changes: Values) -> Values:
        """SET, whose first value is there only if the row may become what all of them make of it."""
        written = {}
        for target, _, value, _ in changes:
            column = target if isinstance(target, Column) else self._part_of(rules, target)
            refuse_stamped(rules, column)
            if column is target:
                written[column.key] = self.typed(f"({value})", column)
        hidden = [rules.hidden[key] for key in written if key in rules.hidden]
        if not hidden and columns_of(rules.change, rules.table).isdisjoint(written):
            return changes
        checks = [self.rule(rule, rules.table) for rule in hidden]
        checks += [self.after(rules, rule, written) for rule in (rules.change, *hidden)]
        place = next(n for n, change in enumerate(changes) if isinstance(change[0], Column))
        column, name, _, binds = changes[place]
        value = f"CASE WHEN {self.required(' AND '.join(checks))} THEN {written[column.key]} END"
        return [*changes[:place], (column, name, value, binds), *changes[place + 1 :]]

    def _part_of(self, rules: Guarded, target: Any) -> Any:
        """The column of which SET writes a part, which no rule may be about."""
        columns = [found for found in visitors.iterate(target) if isinstance(found, Column)]
        named = columns_of(rules.change, rules.table) | set(rules.hidden)
        if len(columns) != 1 or columns[0].table is not rules.table or columns[0].key in named:
            refuse(f"a statement sets {target}.", "Set whole columns of the table where a rule is about them.")
        return columns[0]


def _asks(rules: Guarded, statement: Any) -> bool:
    """Whether *statement*, or a rule about it, has a subquery."""
    parts = (statement, rules.read, rules.change, *rules.hidden.values())
    return any(isinstance(element, SelectBase) for part in parts for element in visitors.iterate(part))


def _refuse_in_cte(rules: Guarded, visiting_cte: Any) -> None:
    """Nobody hears how many rows a CTE wrote, so nobody could be told of those that a rule kept it from."""
    if visiting_cte is not None:
        refuse(
            f"rows of {rules.table.name!r}, which are their owners', are changed or deleted within a CTE.",
            "Change them by a statement of its own, with returning() for what the next one needs.",
        )
