"""How many requests may be tried again: a share of those that succeed, for each target.

A number of retries a request multiplies the load of a service exactly when it can bear least. A share of its successes
ends by itself when there are none (Google, Site Reliability Engineering, chapter 21; gRPC A6, retry throttling).
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Budgets"]

SHARE = 0.1
"""Retries a success: the SRE book's tenth."""

RESERVE = 10.0
"""Most retries that are saved up, and what a target begins with, so that a rare call may be tried again too. gRPC's
usual `maxTokens`."""

TARGETS_MAX = 1000
"""Targets that are remembered; the one unused for longest is forgotten. An app calls some tens."""


class Budgets:
    """What is left for each target."""

    def __init__(self) -> None:
        self._left: OrderedDict[object, float] = OrderedDict()

    def succeed(self, target: object) -> None:
        """A request to *target* was answered well."""
        self._put(target, min(RESERVE, self._of(target) + SHARE))

    def take(self, target: object) -> bool:
        """Take what one more try of a request to *target* costs; False where there is not enough."""
        left = self._of(target)
        if left < 1:
            return False
        self._put(target, left - 1)
        return True

    def _of(self, target: object) -> float:
        return self._left.get(target, RESERVE)

    def _put(self, target: object, left: float) -> None:
        self._left[target] = left
        self._left.move_to_end(target)
        if len(self._left) > TARGETS_MAX:
            self._left.popitem(last=False)
