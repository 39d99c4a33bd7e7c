"""Load shedding: whoever would be refused for want of room hears so before the call begins.

A call that is refused on its way costs a context, the stages before `room`, an exception through all of them, and twice
what a small call costs. At ten times the load nine calls of ten are refused, so that is what limits the tenth.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from toque.call.access import Recall
from toque.call.observation import Figures
from toque.call.waiting import Waiting
from toque.contract.access import Access
from toque.contract.errors import Overloaded
from toque.contract.operation import Priority
from toque.contract.principal import ANONYMOUS, Principal

__all__ = ["Shedding"]


class Shedding:
    """Says at once what the stage `room` would say, of a line that is full.

    Whom it does not know goes in, and is told by the stages what he would be told at any other time.

    Args:
        waiting: what the operation's calls wait for.
        figures: where its refusals are counted, as the stage `observe, admit` would.
        priority: how important its calls are.
        access: who may call; it looks at no inputs.
        recall: None where the operation knows nobody.
    """

    __slots__ = ("_access", "_figures", "_line", "_priority", "_recall", "_waiting", "reads_credential")

    def __init__(
        self, waiting: Waiting[Any], figures: Figures, priority: Priority, access: Access, recall: Recall | None
    ) -> None:
        self._waiting = waiting
        self._line = waiting.line
        self._figures = figures
        self._priority = priority
        self._access = access
        self._recall = recall
        self.reads_credential = recall is not None

    @property
    def is_crowded(self) -> bool:
        """Whether there is anything to ask: anybody may be refused."""
        line = self._line
        return line.count >= line.waiting_max

    def refusal(self, credential: str | None) -> Overloaded | None:
        """Why the call does not begin, counted; None where it may try."""
        caller = self._caller(credential)
        if caller is None:
            return None
        refusal = self._waiting.refusal(caller.share, self._priority, monotonic())
        if refusal is not None:
            self._figures.record(Overloaded.code, 0.0)
        return refusal

    def _caller(self, credential: str | None) -> Principal | None:
        """Who is calling; None where that is not known, or he may not."""
        caller: Principal | None = ANONYMOUS
        if self._recall is not None and credential is not None:
            caller = self._recall(credential)
        if caller is None or not self._access.needs_principal:
            return caller
        try:
            return caller if self._access.test(caller, {}) else None
        except Exception:  # A predicate of the app's: it fails once more in its stage, which tells of it.
            return None
