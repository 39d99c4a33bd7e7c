"""One answer that is followed: its newest state, who follows it, and whether it has to be found out anew.

Nothing here waits. `Live` runs the query, one run of a topic at a time; what changes meanwhile, however often, asks for
one more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toque.cache.kept import KeptAnswer
from toque.cache.subscription import Subscription
from toque.call.plan import Arguments, Plan

if TYPE_CHECKING:
    from toque.cache.knowledge import Key
    from toque.cache.runner import Runner

__all__ = ["Topic"]


class Topic:
    """See the module.

    Args:
        key: what the answer is kept under; it tells all that it depends on, so it is everybody's who has this key.
        on_stale: told, once, that it has to be found out anew.
        on_left: told that nobody follows it any more.
    """

    __slots__ = (
        "_on_left",
        "_on_stale",
        "_runner",
        "_wanted",
        "answer",
        "arguments",
        "failures",
        "followers",
        "is_asked",
        "is_closed",
        "key",
        "plan",
        "runs",
    )

    def __init__(
        self,
        plan: Plan,
        arguments: Arguments,
        key: Key,
        runner: Runner,
        *,
        on_stale: Callable[[Topic], None],
        on_left: Callable[[Topic], None],
    ) -> None:
        self.plan = plan
        self.arguments = arguments
        self.key = key
        self.followers: dict[Subscription, None] = {}
        self.answer: KeptAnswer | None = None
        """The newest state."""
        self.runs = 0
        """How many have begun."""
        self.failures = 0
        """How many in a row could not say what the answer is."""
        self.is_asked = False
        """Whether a run is under way, or will be."""
        self.is_closed = False
        self._runner = runner
        self._on_stale = on_stale
        self._on_left = on_left
        self._wanted = 0
        """The run whose state somebody waits for; earlier ones began before he came."""
        # What is followed is not evicted: it would have to be found out again at once.
        runner.entries.hold(key)

    @property
    def is_current(self) -> bool:
        """Whether the newest state misses nothing that this process knows of."""
        return self.answer is not None and self._runner.entries.find(self.key) is self.answer

    def join(self, subscription: Subscription, answer: KeptAnswer | None) -> None:
        """Have *subscription*, whose own call was given *answer*, told of that, if it is the newest state, or else of
        the first that is found out from now on."""
        self.followers[subscription] = None
        subscription.topic = self
        # Another one may be of an earlier snapshot, though it is kept: his own commit need not be in it.
        if self.is_current and self.answer is not None and answer is not None and self.answer.body == answer.body:
            subscription.offer(self.answer)
            return
        subscription.after = self.runs
        self._wanted = self.runs + 1
        self.ask()

    def leave(self, subscription: Subscription) -> None:
        """*subscription* has ended."""
        self.followers.pop(subscription, None)
        if not self.followers:
            self.close()

    def close(self) -> None:
        """Let go of the answer."""
        if not self.is_closed:
            self.is_closed = True
            self._runner.unwatch(self.key, self.ask)
            self._runner.entries.release(self.key)
            self._on_left(self)

    def ask(self) -> None:
        """It may have changed: have it found out anew, by a run that begins from now on."""
        if self.is_closed:
            return
        if self.is_asked:
            self._wanted = max(self._wanted, self.runs + 1)
        else:
            self.is_asked = True
            self._on_stale(self)

    def begin(self) -> int:
        """A run begins now: its number."""
        self.runs += 1
        return self.runs

    def found(self, answer: KeptAnswer) -> bool:
        """The run that began last has brought *answer*: whether that is another one than before. To be called without
        a wait in between, so that no change passes by unseen."""
        is_other = self.answer is None or self.answer.body != answer.body
        self.answer, self.failures = answer, 0
        if not self._runner.watch(self.key, answer, self.ask):
            self._wanted = self.runs + 1
        return is_other

    def end(self) -> None:
        """The run has ended; what was asked for meanwhile is asked for now."""
        self.is_asked = False
        if self._wanted > self.runs:
            self.ask()
