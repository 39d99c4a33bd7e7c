"""What is wrong with a table's rules where there are sensitive tables: found before anything is served.

Both walls stand at once, and the compiler's words go through the database's wall too: what a rule's subquery reads of a
sensitive table are there only the rows that the caller may read. So a rule may ask a sensitive table only what fewer
rows can never make true: whether a row is there. Not whether one is missing, and nothing of how many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeGuard

from sqlalchemy import Alias, Exists, Select, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BinaryExpression, BooleanClauseList, Grouping
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Join, ScalarSelect, SelectBase, SelectStatementGrouping
from sqlalchemy.sql.visitors import iterate

from toque.contract.complaints import Complaint
from toque.store.dialects import postgresql
from toque.store.rows import Guarded, Rule, place_of
from toque.store.rule_sql import RuleWriter, tables_read

__all__ = ["complaints"]

_REMEDY = (
    "ask a sensitive table by a plain exists() or in_() only, or keep the answer in a column "
    "(docs/guides/sensitive-tables.md)"
)


def complaints(rules: Guarded, sensitive: Collection[str]) -> Iterator[Complaint]:
    """What is wrong with *rules* in an app whose tables *sensitive* are kept by the database too."""
    said = {"read": rules.read, "insert": rules.insert, "change": rules.change, "delete": rules.delete}
    hidden = {f"hidden[{name!r}]": rule for name, rule in rules.hidden.items()}
    for action, rule in {**said, **hidden}.items():
        found = sorted(set(_misread(rule, [rules.table])) & set(sensitive))
        if found:
            asked = f"its rule for {action} asks {', '.join(found)}, which is sensitive,"
            problem = f"{asked} for more than whether a row is there"
            yield Complaint(f"model {rules.table.name}", problem, _REMEDY, place_of(rules.table))
    if rules.is_sensitive:
        yield from _unwritable(rules, said.values())


def _unwritable(rules: Guarded, said: Collection[Rule]) -> Iterator[Complaint]:
    writer = RuleWriter(postgresql(), lambda _: "NULL")
    for rule in said:
        try:
            writer.write(rule, rules.table)
        except TypeError as error:
            problem, _, remedy = str(error).partition(". ")
            yield Complaint(f"model {rules.table.name}", problem, remedy, place_of(rules.table))
            return


def _misread(element: Any, around: list[Any]) -> Iterator[str]:
    """The tables of which *element*, which stands in a statement about *around*, could be made true by fewer rows."""
    match element:
        case BooleanClauseList(operator=operators.and_ | operators.or_):
            for clause in element.clauses:
                yield from _misread(clause, around)
        case Grouping() | AsBoolean(operator=operators.is_true):
            yield from _misread(element.element, around)
        case Exists() if _is_plain(inner := _select_in(element.element)):
            yield from _misread_in(inner, around)
        case BinaryExpression(operator=operators.in_op) if _is_plain(inner := _select_in(element.right)):
            yield from tables_read(element.left, around)
            yield from _misread_in(inner, around)
        case _:
            yield from tables_read(element, around)


def _misread_in(inner: Select[Any], around: list[Any]) -> Iterator[str]:
    within = [*around, *(found for found in inner.get_final_froms() if found not in around)]
    conditions = [*inner._where_criteria, *(join.onclause for join in within if isinstance(join, Join))]
    for condition in conditions:
        yield from _misread(condition, within)


def _select_in(element: Any) -> Any:
    while isinstance(element, (ScalarSelect, SelectStatementGrouping, Grouping)):
        element = element.element
    return element


def _is_plain(inner: Any) -> TypeGuard[Select[Any]]:
    """Whether more rows in its tables can only mean more rows of it."""
    if not isinstance(inner, Select) or inner._independent_ctes or inner._distinct_on:
        return False
    narrowing = (inner._limit_clause, inner._offset_clause, inner._fetch_clause)
    is_counting = bool(inner._group_by_clauses or inner._having_criteria) or any(part is not None for part in narrowing)
    is_computing = any(
        isinstance(part, (FunctionElement, SelectBase, ScalarSelect))
        for column in inner._raw_columns
        for part in iterate(column)
    )
    return not is_counting and not is_computing and all(map(_is_table, inner.get_final_froms()))


def _is_table(found: Any) -> bool:
    if isinstance(found, Join):
        return not (found.isouter or found.full) and _is_table(found.left) and _is_table(found.right)
    return isinstance(found.element if isinstance(found, Alias) else found, Table)
