"""What a statement reads: found once for each statement shape, filled with values at each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from toque.cache.keys import UNFIT
from toque.cache.predicates import NULL, Predicate, ReadSet, Source, Template, bound
from toque.cache.tracking import tracking
from toque.contract.principal import ANONYMOUS, Principal
from toque.store.plans import Plan, Plans

__all__ = ["Reading", "Readings"]


class Reading:
    """What one statement shape reads, whatever its values."""

    def __init__(self, plan: Plan, compiled: Any) -> None:
        self.templates: tuple[Template, ...] = _needed(compiled.templates)
        self.facts: frozenset[tuple[str, tuple[str, ...]]] = frozenset(compiled.facts)
        """What it asks about the caller: `about` and `names` of each fact."""
        self.untrackable: tuple[str, ...] = tuple(dict.fromkeys(compiled.untrackable))
        """Why its answers cannot be kept; empty where they can."""
        self.tables = frozenset(template.table for template in self.templates)
        self._fillers = [_filler(template, plan) for template in self.templates]

    def read_set(
        self, binds: Sequence[Any], parameters: Mapping[str, Any] | None = None, principal: Principal = ANONYMOUS
    ) -> ReadSet:
        """What a run with these values reads. The arguments are those of `Compilation.arguments`."""
        given = parameters or _NONE
        if len(self._fillers) == 1:
            return ReadSet(self._fillers[0](binds, given, principal))
        predicates: list[Predicate] = []
        for fill in self._fillers:
            predicates += fill(binds, given, principal)
        return ReadSet(predicates)


_NONE: Mapping[str, Any] = {}

_Get = Callable[[Sequence[Any], Mapping[str, Any], Principal], Any]
"""From one run's binds, parameters and caller to a value."""
_Fill = Callable[[Sequence[Any], Mapping[str, Any], Principal], Iterable[Predicate]]


def _getter(source: Source, plan: Plan) -> _Get:
    fact, name, value = source.fact, source.bind, plan.value
    if fact is not None:
        return lambda binds, given, principal: fact.of(principal)
    found = plan.sources.get(name)
    given_as = "" if found is None or found.fact is not None else found.name
    if not given_as:
        return lambda binds, given, principal: value(name, binds, given)
    # What nearly every run has: its value by name.
    return lambda binds, given, principal: given[given_as] if given_as in given else value(name, binds, given)


def _filler(template: Template, plan: Plan) -> _Fill:
    """What fills *template* at each run, with as little work as its form allows."""
    if template == Template(template.table):
        whole = (Predicate(template.table),)
        return lambda binds, given, principal: whole
    getters = {source: _getter(source, plan) for source in template.sources}

    def fill(binds: Sequence[Any], given: Mapping[str, Any], principal: Principal) -> Iterable[Predicate]:
        return bound(template, lambda source: getters[source](binds, given, principal))

    is_plain = not template.conditions and not any(term.is_list for term in template.terms)
    if not is_plain or NULL in getters:
        return fill
    table, names = template.table, tuple(term.column for term in template.terms)
    parts = [(term.key.of_value, getters[term.source]) for term in template.terms]

    def fill_plain(binds: Sequence[Any], given: Mapping[str, Any], principal: Principal) -> Iterable[Predicate]:
        values = tuple([of_value(get(binds, given, principal)) for of_value, get in parts])
        if None in values or UNFIT in values:
            return fill(binds, given, principal)
        return (Predicate(table, names, values),)

    return fill_plain


class Readings:
    """The readings of one store's plans."""

    def __init__(self, plans: Plans) -> None:
        self.written_by = plans.dialect
        """By which the plans are written that are understood."""
        self._dialect = tracking(plans.dialect)

    def of(self, plan: Plan) -> Reading:
        """What *plan* reads; its nested views have plans of their own."""
        found: Reading | None = plan.reading
        if found is None:
            compiled = plan.compiled.statement.compile(dialect=self._dialect)  # type: ignore[union-attr]
            found = plan.reading = Reading(plan, compiled)
        return found


def _needed(templates: Sequence[Template]) -> tuple[Template, ...]:
    """*Templates* without those of tables that are read whole anyway."""
    whole = {template.table for template in templates if template == Template(template.table)}
    return tuple(dict.fromkeys(t for t in templates if t.table not in whole or t == Template(t.table)))
