"""Which rows a query has read, as data: of a table all rows, or those with these values in these columns."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import prod
from typing import Any, NamedTuple

from toque.cache.change import ANY_TABLE, Change, Scalar
from toque.cache.keys import UNFIT, Key

__all__ = ["LIST_MAX", "NULL", "Condition", "Predicate", "ReadSet", "Source", "Template", "Term", "bound"]

LIST_MAX = 64
"""Values of an IN list that a read set keeps apart; a longer list is not used."""


class Source(NamedTuple):
    """Where a value comes from at each run: a bind of the statement, by its name, or a fact about the caller."""

    bind: str = ""
    fact: Any = None
    kind: str = ""
    """How its type compares values (`Key.kind`): a bind of another type than its column's may be converted."""


NULL = Source()
"""No bind and no fact: the value of IS NULL."""


class Term(NamedTuple):
    """`column = value`, `column IN (values)`, or `column IS NULL`."""

    column: str
    key: Key
    source: Source
    is_list: bool = False


class Condition(NamedTuple):
    """A value that must be true, or the rows of its template are not read at all."""

    source: Source


class Template(NamedTuple):
    """A predicate whose values are not known yet."""

    table: str
    terms: tuple[Term, ...] = ()
    """In the order of their columns' names, and one for each."""
    conditions: tuple[Condition, ...] = ()

    @property
    def sources(self) -> set[Source]:
        return {term.source for term in self.terms} | {condition.source for condition in self.conditions}


class Predicate(NamedTuple):
    """The rows of *table* that have *values* in *columns*, in the order of their names; without columns, all rows."""

    table: str
    columns: tuple[str, ...] = ()
    values: tuple[Scalar, ...] = ()

    def matches(self, change: Change) -> bool:
        if change.table != self.table:
            return change.table == ANY_TABLE
        if change.images is None or not self.columns:
            return True
        # An image lacks a column where another release of the app captured it: it may be any value then.
        pairs = tuple(zip(self.columns, self.values, strict=True))
        return any(all(image.get(column, value) == value for column, value in pairs) for image in change.images)


class ReadSet:
    """The predicates of all that one run of a statement has read."""

    __slots__ = ("predicates",)

    def __init__(self, predicates: Iterable[Predicate]) -> None:
        self.predicates = tuple(predicates)

    def overlaps(self, change: Change) -> bool:
        return any(predicate.matches(change) for predicate in self.predicates)


def bound(template: Template, values: Any) -> Iterable[Predicate]:
    """The predicates of *template* with the values of one run; none where no row can be read.

    Args:
        values: from a `Source` to its value.
    """
    if not all(values(condition.source) for condition in template.conditions):
        return ()
    columns, choices = [], []
    for term in template.terms:
        found = _choices(term, values)
        if found is None:
            continue
        columns.append(term.column)
        choices.append(found)
    if prod(map(len, choices)) > LIST_MAX:
        # Whole columns are given up, so that what is left is still true of every row.
        kept = [n for n, found in enumerate(choices) if len(found) == 1]
        columns, choices = [columns[n] for n in kept], [choices[n] for n in kept]
    names = tuple(columns)
    return [Predicate(template.table, names, combined) for combined in product(*choices)]


def _choices(term: Term, values: Any) -> list[Scalar] | None:
    """The values that a row may have for *term*; None where they are not known, or too many."""
    if term.source is NULL:
        return [None]
    value = values(term.source)
    given = list(value) if term.is_list else [value]
    if len(given) > LIST_MAX:
        return None
    canonical = dict.fromkeys(term.key.of_value(item) for item in given)
    if UNFIT in canonical:
        return None
    # Nothing equals NULL.
    canonical.pop(None, None)
    return list(canonical)
