"""Admission: a known number of calls at once, and no call beyond its deadline."""

from __future__ import annotations

from typing import Any

from toque.call.context import Context
from toque.call.deadline import first_step, guard
from toque.call.plan import Arguments, Handler
from toque.contract.errors import Overloaded

__all__ = ["Gate"]

RETRY_AFTER_S = 1.0
"""What a refused caller is told to wait: the shortest that `Retry-After` can say (RFC 9110, 10.2.3)."""


class Gate:
    """Counts the calls that wait for something, and refuses those beyond what this worker can hold.

    A call that ends in its first step holds nothing and is never counted.
    """

    def __init__(self, waiting_max: int) -> None:
        self.waiting = 0
        self.waiting_max = waiting_max

    def stage(self, call: Handler) -> Handler:
        """*call*, admitted and stopped at its deadline."""

        async def admitted(context: Context, arguments: Arguments) -> Any:
            if self.waiting >= self.waiting_max:
                raise Overloaded(f"{self.waiting} calls are under way already", retry_after_s=RETRY_AFTER_S)
            work = call(context, arguments)
            ended, outcome = first_step(work)
            if ended:
                return outcome
            self.waiting += 1
            try:
                return await guard(work, outcome, context.deadline, context.left)
            finally:
                self.waiting -= 1

        return admitted
