"""What a condition says for sure about the rows that fulfil it: alternatives, each of them some equalities.

Whatever is not understood counts as true, which widens what is read and never narrows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    False_,
    Grouping,
    Null,
    UnaryExpression,
)

from toque.cache.predicates import NULL, Source

__all__ = [
    "ALTERNATIVES_MAX",
    "Alternatives",
    "Atom",
    "Equal",
    "Find",
    "Given",
    "Ref",
    "Same",
    "all_of",
    "alternatives",
]

ALTERNATIVES_MAX = 16
"""Alternatives of one statement that are kept apart. An OR that would make more is not used."""


class Ref(NamedTuple):
    """A column of one FROM element: of a table, or of an alias of it."""

    element: Any
    column: str


class Equal(NamedTuple):
    """A column has a value; with `is_list` one of several."""

    ref: Ref
    source: Source
    is_list: bool = False


class Same(NamedTuple):
    """Two columns have one value."""

    left: Ref
    right: Ref


class Given(NamedTuple):
    """A value that has nothing to do with rows is true."""

    source: Source


Atom: TypeAlias = Equal | Same | Given
Alternatives: TypeAlias = tuple[tuple[Atom, ...], ...]

_TRUE: Alternatives = ((),)
_FALSE: Alternatives = ()

Resolve = Callable[[Any], Ref | None]
"""From a column of the statement to the element that has it; None where it is none of those looked at."""
Find = Callable[[BindParameter[Any]], Source | None]
"""From a bind to where its value comes from; None where nobody knows."""


def all_of(parts: Iterable[Alternatives]) -> Alternatives:
    """The alternatives of a conjunction. Those with many come last, so that it is they which are given up."""
    joined = _TRUE
    for part in sorted(parts, key=len):
        if len(joined) * len(part) <= ALTERNATIVES_MAX:
            joined = tuple(some + others for some in joined for others in part)
    return joined


def alternatives(clause: Any, resolve: Resolve, find: Find) -> Alternatives:
    """What *clause* says for sure."""
    if isinstance(clause, Grouping):
        return alternatives(clause.element, resolve, find)
    if isinstance(clause, BooleanClauseList):
        return _of_list(clause, resolve, find)
    if isinstance(clause, UnaryExpression) and clause.operator is operators.is_true:
        return alternatives(clause.element, resolve, find)
    if isinstance(clause, BinaryExpression):
        atom = _of_comparison(clause, resolve, find)
        return _TRUE if atom is None else ((atom,),)
    if isinstance(clause, BindParameter):
        source = find(clause)
        return _TRUE if source is None else ((Given(source),),)
    return _FALSE if isinstance(clause, False_) else _TRUE


def _of_list(clause: BooleanClauseList, resolve: Resolve, find: Find) -> Alternatives:
    parts = [alternatives(part, resolve, find) for part in clause.clauses]
    if clause.operator is operators.and_:
        return all_of(parts)
    if clause.operator is not operators.or_:
        return _TRUE
    either = tuple(alternative for part in parts for alternative in part)
    return either if len(either) <= ALTERNATIVES_MAX else _TRUE


def _of_comparison(clause: BinaryExpression[Any], resolve: Resolve, find: Find) -> Atom | None:
    left, right = _bare(clause.left), _bare(clause.right)
    if clause.operator is operators.in_op:
        return _equal(left, right, resolve, find, is_list=True)
    if clause.operator is operators.is_ and isinstance(right, Null):
        ref = _ref(left, resolve)
        return None if ref is None else Equal(ref, NULL)
    if clause.operator is not operators.eq:
        return None
    refs = _ref(left, resolve), _ref(right, resolve)
    if refs[0] is not None and refs[1] is not None:
        return Same(refs[0], refs[1])
    return _equal(left, right, resolve, find) or _equal(right, left, resolve, find)


def _equal(column: Any, value: Any, resolve: Resolve, find: Find, *, is_list: bool = False) -> Equal | None:
    ref = _ref(column, resolve)
    if ref is None or not isinstance(value, BindParameter) or value.expanding != is_list:
        return None
    source = find(value)
    return None if source is None else Equal(ref, source, is_list)


def _ref(column: Any, resolve: Resolve) -> Ref | None:
    return resolve(column) if isinstance(column, ColumnClause) and not column.is_literal else None


def _bare(element: Any) -> Any:
    while isinstance(element, Grouping):
        element = element.element
    return element
