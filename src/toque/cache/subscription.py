"""One follower of a live query: the newest state that he has not taken, and how it ended.

There is no queue. Whoever is slow finds the newest state when he comes back, and what lay between is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from toque.cache.kept import KeptAnswer
from toque.call.plan import Stands
from toque.contract.errors import LeftBehind
from toque.contract.principal import Principal

if TYPE_CHECKING:
    from toque.cache.topic import Topic

__all__ = ["Subscription"]


class Subscription:
    """See the module.

    Args:
        stands: looks whether the caller would still be let in; None where nobody is kept out.
        on_news: told, in the middle of something else, that `take` has something to say. Who takes it right then spares
            `next` from being woken. It raises nothing.
    """

    __slots__ = (
        "_error",
        "_slot",
        "_taken",
        "_waiter",
        "after",
        "offered_at",
        "on_news",
        "principal",
        "stands",
        "topic",
    )

    def __init__(self, principal: Principal, stands: Stands | None, on_news: Callable[[], None] | None = None) -> None:
        self.principal = principal
        self.stands = stands
        self.on_news = on_news
        self.topic: Topic | None = None
        """What it follows; None once it has ended."""
        self.after = 0
        """The runs of its topic that began before it came, and may miss what it must not."""
        self.offered_at = 0.0
        """Since when a state waits to be taken; 0 where none does."""
        self._slot: KeptAnswer | None = None
        self._taken: KeptAnswer | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_told(self) -> bool:
        """Whether it was ever offered a state."""
        return self._slot is not None or self._taken is not None

    @property
    def offered(self) -> KeptAnswer | None:
        """What `take` would give."""
        return self._slot

    @property
    def error(self) -> Exception | None:
        """What it ended with."""
        return self._error

    @property
    def has_ended(self) -> bool:
        return self._error is not None

    def take(self) -> KeptAnswer | None:
        """The newest state, unless it was taken or is equal to the last that was. Raises: what it ended with."""
        if self._error is not None:
            raise self._error
        state, self._slot = self._slot, None
        if state is not None:
            self._taken, self.offered_at = state, 0.0
        return state

    async def next(self, within_s: float) -> KeptAnswer | None:
        """What `take` has within so many seconds; None where nothing. Raises: what it ended with."""
        if (state := self.take()) is not None:
            return state
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        patience = loop.call_later(within_s, self._wake)
        try:
            await self._waiter
        finally:
            patience.cancel()
            self._waiter = None
        return self.take()

    def offer(self, state: KeptAnswer) -> None:
        """Have *state* taken next, in the place of one that was not taken."""
        if self._error is not None:
            return
        if self._taken is not None and (state is self._taken or state.body == self._taken.body):
            self._slot, self.offered_at = None, 0.0
            return
        self._slot = state
        self._tell()
        if self._slot is state and not self.offered_at:
            self.offered_at = monotonic()

    def look(self, now: float, lag_s: float) -> bool:
        """Whether it may go on; else it has ended by now."""
        if self._error is not None:
            return False
        try:
            if self.stands is not None:
                self.stands()
        except Exception as error:
            self.end(error)
            return False
        if self.offered_at and now - self.offered_at > lag_s:
            self.end(LeftBehind(f"a new state was not taken for {lag_s:g} s", retry_after_s=1.0))
            return False
        return True

    def end(self, error: Exception) -> None:
        """End it: *error* is the next that it hears, and the last."""
        if self._error is not None:
            return
        self._error, self._slot = error, None
        topic, self.topic = self.topic, None
        if topic is not None:
            topic.leave(self)
        self._tell()

    def _tell(self) -> None:
        if self.on_news is not None:
            self.on_news()
        if self._slot is not None or self._error is not None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
