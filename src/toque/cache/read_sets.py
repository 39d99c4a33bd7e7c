"""What a statement reads: found once for each statement shape, filled with values at each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from toque.cache.predicates import Predicate, ReadSet, Source, Template, bound
from toque.cache.tracking import tracking
from toque.contract.principal import ANONYMOUS, Principal
from toque.store.facts import Fact
from toque.store.plans import Plan, Plans

__all__ = ["Reading", "Readings"]


class Reading:
    """What one statement shape reads, whatever its values."""

    def __init__(self, plan: Plan, compiled: Any) -> None:
        self._plan = plan
        self.templates: tuple[Template, ...] = _needed(compiled.templates)
        self.facts: frozenset[tuple[str, tuple[str, ...]]] = frozenset(compiled.facts)
        """What it asks about the caller: `about` and `names` of each fact."""
        self.untrackable: tuple[str, ...] = tuple(dict.fromkeys(compiled.untrackable))
        """Why its answers cannot be kept; empty where they can."""

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(template.table for template in self.templates)

    def read_set(
        self, binds: Sequence[Any], parameters: Mapping[str, Any] | None = None, principal: Principal = ANONYMOUS
    ) -> ReadSet:
        """What a run with these values reads. The arguments are those of `Compilation.arguments`."""
        given = parameters or {}
        value_of = self._plan.value

        def value(source: Source) -> Any:
            fact: Fact | None = source.fact
            return value_of(source.bind, binds, given) if fact is None else fact.of(principal)

        predicates: list[Predicate] = []
        for template in self.templates:
            predicates += bound(template, value)
        return ReadSet(predicates)


class Readings:
    """The readings of one store's plans."""

    def __init__(self, plans: Plans) -> None:
        self._dialect = tracking(plans.dialect)
        self._of: WeakKeyDictionary[Plan, Reading] = WeakKeyDictionary()

    def of(self, plan: Plan) -> Reading:
        """What *plan* reads; its nested views have plans of their own."""
        found = self._of.get(plan)
        if found is None:
            compiled = plan.compiled.statement.compile(dialect=self._dialect)  # type: ignore[union-attr]
            found = self._of[plan] = Reading(plan, compiled)
        return found


def _needed(templates: Sequence[Template]) -> tuple[Template, ...]:
    """*Templates* without those of tables that are read whole anyway."""
    whole = {template.table for template in templates if template == Template(template.table)}
    return tuple(dict.fromkeys(t for t in templates if t.table not in whole or t == Template(t.table)))
