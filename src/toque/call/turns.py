"""What a process does again and again by itself, in a task of its own, whatever befalls one turn of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from logging import Logger
from random import uniform

from toque.call.tasks import cancel
from toque.call.trouble import Trouble
from toque.contract.errors import Error

__all__ = ["Turns"]


class Turns:
    """See the module.

    Args:
        turn: does what there is to do: how many seconds may pass until the next turn, unless somebody wakes it before;
            None where there is nothing to do before that.
        log: where it is said that a turn failed.
        trouble: what that means, in words that can be followed by a reason.
        again_s: the pause after an `Error`, twice as long each time.
        again_max_s: the longest, which is also the one after a failure that nobody expected.
    """

    def __init__(
        self,
        turn: Callable[[], Awaitable[float | None]],
        log: Logger,
        trouble: str,
        *,
        again_s: float,
        again_max_s: float,
    ) -> None:
        self._turn = turn
        self._log = log
        self._trouble = Trouble(log, trouble)
        self._again_s = again_s
        self._again_max_s = again_max_s
        self._alarm = asyncio.Event()
        self._going_on: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the first turn."""
        self._going_on = asyncio.get_running_loop().create_task(self._go_on())

    async def stop(self) -> None:
        """Break off the turn that is under way, and take none any more."""
        await cancel(self._going_on)

    def wake(self) -> None:
        """There may be news: a pause ends, but for one after a failure."""
        self._alarm.set()

    async def _go_on(self) -> None:
        again_s = self._again_s
        while True:
            # Before the turn: what it does not see any more has another one follow.
            self._alarm.clear()
            try:
                pause_s = await self._turn()
            except Error as error:
                self._trouble.met(error)
                await asyncio.sleep(uniform(again_s / 2, again_s))  # noqa: S311 - to spread, not to hide
                again_s = min(again_s * 2, self._again_max_s)
            except Exception:
                self._log.exception("%s; trying again", self._trouble.what)
                await asyncio.sleep(self._again_max_s)
            else:
                self._trouble.over()
                again_s = self._again_s
                await self._pause(pause_s)

    async def _pause(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._alarm.wait()
