"""Calls that wait until another one hands over what they need: a line with futures in it."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from math import ceil
from time import monotonic
from typing import Generic, TypeVar

from toque.call.context import Context
from toque.call.line import Line, Place, Reason
from toque.call.notice import Notice
from toque.call.observation import BOUNDS_S
from toque.contract.errors import Overloaded
from toque.contract.operation import Priority

__all__ = ["RETRY_AFTER_S", "Waiting"]

T = TypeVar("T")

RETRY_AFTER_S = 1.0
"""The least that a refused caller is told to wait: the shortest that `Retry-After` can say (RFC 9110, 10.2.3)."""

DETAILS: dict[Reason, str] = {
    "full": "Too many calls are waiting for the app's {}.",
    "late": "None of the app's {} becomes free in time for this call's deadline.",
}


class Waiting(Generic[T]):
    """Those who wait for one kind of thing, and what became of those who have.

    Whoever has the things takes and gives them without a word to this, as long as there are enough. It asks for a
    `turn` when there are none, and hands over what becomes free.

    Args:
        name: what is waited for, in the plural: `connections`.
        slots: how many there are.
        waiting_max: how many calls may wait.
        give_back: takes what was handed to a call that was cancelled at the same moment.
        in_use: how many of the things are used now.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        waiting_max: int,
        *,
        give_back: Callable[[T], None],
        in_use: Callable[[], int],
    ) -> None:
        self.name = name
        self.slots = slots
        self.in_use = in_use
        self.refused: dict[tuple[Reason, Priority], int] = {}
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        """How long those who were served had waited, as in `observation.Figures`."""
        self.seconds = 0.0
        self.line: Line[asyncio.Future[T]] = Line(slots, waiting_max)
        """Who waits. Only this may change it."""
        self._give_back = give_back
        self._details = {reason: detail.format(name) for reason, detail in DETAILS.items()}
        self._notice = Notice(f"%d calls refused that would have waited for {name}")

    def check(self, context: Context) -> None:
        """Raise Overloaded if the line would refuse the call, now that nothing has been done for it yet.

        Whoever is about to ask for a turn asks this first: refused here, a call costs a tenth of what it costs to be
        refused a turn. Where nobody waits there is nothing to ask (`line.count`).
        """
        now = monotonic()
        reason = self.line.refuses(context.share, context.priority, now, context.deadline)
        if reason is not None:
            raise self._refusal(reason, context.priority, now)

    def refusal(self, share: str, priority: Priority, now: float) -> Overloaded | None:
        """What a newcomer would be refused with because the line is full, counted; None where it is not refused so."""
        line = self.line
        if line.count < line.waiting_max or not line.is_shut(share, priority, now):
            return None
        return self._refusal("full", priority, now)

    async def turn(self, context: Context) -> T:
        """Wait for what becomes free, in the order that the line knows.

        Raises: Overloaded when others go first and there is no more room, or the deadline comes too soon.
        """
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        place = Place(
            turn,
            tenant=context.share,
            priority=context.priority,
            since=monotonic(),
            deadline=context.deadline,
        )
        if (refused := self.line.join(place)) is not None:
            self._refuse(refused)
        try:
            handed = await turn
        except asyncio.CancelledError:
            self._leave(place)
            raise
        waited_s = monotonic() - place.since
        self.buckets[bisect_left(BOUNDS_S, waited_s)] += 1
        self.seconds += waited_s
        return handed

    def hand_over(self, thing: T) -> bool:
        """Give *thing* to whose turn it is. Returns whether anybody took it."""
        while self.line.count:
            place, late = self.line.next(monotonic())
            for each in late:
                self._refuse(each)
            # Cancelled, and not awake yet to leave the line.
            if place is not None and not place.item.done():
                place.item.set_result(thing)
                return True
        return False

    def _leave(self, place: Place[asyncio.Future[T]]) -> None:
        turn = place.item
        self.line.leave(place)
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._give_back(turn.result())

    def _refuse(self, place: Place[asyncio.Future[T]]) -> None:
        if place.refused is None or place.item.done():
            return
        place.item.set_exception(self._refusal(place.refused, place.priority, monotonic()))

    def _refusal(self, reason: Reason, priority: Priority, now: float) -> Overloaded:
        kind = reason, priority
        self.refused[kind] = self.refused.get(kind, 0) + 1
        self._notice.happened(now)
        retry_after_s = max(RETRY_AFTER_S, ceil(self.line.drain_s(now)))
        return Overloaded(self._details[reason], retry_after_s=retry_after_s)
