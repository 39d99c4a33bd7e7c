"""What one run of a query reads, and asks about its caller, taken down while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from toque.cache.knowledge import FactName
from toque.cache.predicates import ReadSet
from toque.cache.read_sets import Readings
from toque.contract.principal import Principal
from toque.store.facts import Fact, Known
from toque.store.plans import Plan

__all__ = ["Noting", "why_blind"]


class Noting:
    """See `Reads` in `store/reads.py`.

    Args:
        captured: the tables whose changes are told, by name.
        tell: hears at once of each part that is read.
    """

    def __init__(
        self, readings: Readings, captured: Set[str], caller: Principal, tell: Callable[[ReadSet], None]
    ) -> None:
        self.asked: set[FactName] = set()
        """What was asked about the caller."""
        self.why_not = ""
        """Why nobody can tell when this answer changes; empty where one can."""
        self.is_blind = False
        """Whether that is so only because the changes of some table are not told."""
        self.has_failed = False
        """Whether a statement failed: the next run may have more luck, though no row changes."""
        self._readings = readings
        self._captured = captured
        self._caller = caller
        self._tell = tell

    def statement(self, plan: Plan, binds: Sequence[Any], parameters: Mapping[str, Any] | None) -> None:
        try:
            reading = self._readings.of(plan)
            if reading.facts:
                self.asked |= reading.facts
            if plan.compiled.dialect is not self._readings.written_by:
                self._refuse("it reads all rows, past the rules")
            elif reading.untrackable:
                self._refuse(reading.untrackable[0])
            elif binds and _moves(binds):
                self._refuse("one of its values is made anew at each run")
            elif not reading.tables <= self._captured:
                self.is_blind = self.is_blind or not self.why_not
                self._refuse(why_blind(reading.tables, self._captured))
            else:
                self._tell(reading.read_set(binds, parameters, self._caller))
        except Exception as error:
            self._refuse(f"what a statement reads could not be told: {error}")
            # Nobody knows what it asked.
            self.asked.add(EVERYTHING)

    def untracked(self, arguments: Iterable[Any]) -> None:
        facts = (_fact_of(value) for value in arguments)
        self.asked |= {(fact.about, fact.names) for fact in facts if fact is not None}
        self._refuse("it uses a session, whose statements are not looked into")

    def failed(self) -> None:
        self.has_failed = True

    def _refuse(self, why: str) -> None:
        self.why_not = self.why_not or why


def why_blind(tables: Iterable[str], captured: Set[str]) -> str:
    """Which of *tables* nobody tells of; empty where each is *captured*."""
    blind = sorted({*tables} - captured)
    return f"changes of {', '.join(blind)} are not told" if blind else ""


EVERYTHING: FactName = ("everything", ())
"""In the place of facts that could not be told apart: no key tells it, so the answer is its caller's alone."""


def _moves(binds: Sequence[Any]) -> bool:
    """Whether one of them makes its value anew. A loop: it is asked for every statement, and most have one bind."""
    for bind in binds:  # noqa: SIM110
        if bind.callable is not None:
            return True
    return False


def _fact_of(value: Any) -> Fact | None:
    return value.fact if isinstance(value, Known) else value if isinstance(value, Fact) else None
