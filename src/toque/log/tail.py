"""Following the log: who waits for news hears of them soon, and polling alone is enough.

A commit of this process wakes its own listeners at once, and rings for those of other processes. Were every ring lost,
each process still looks by itself: every 20 ms while there is something to see, once a second when there has not been
for some seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import uniform
from typing import Any

from toque.call.tasks import cancel
from toque.call.trouble import Trouble
from toque.contract.errors import Unavailable
from toque.log.probe import Probe
from toque.log.wire import wire_to

__all__ = ["AGAIN_MAX_S", "IDLE_S", "Tail"]

log = logging.getLogger("toque.log")

ALERT_S, IDLE_S, GROWTH = 0.02, 1.0, 1.3
"""Between two looks: 20 ms after news, and up to a second, which is reached four seconds later."""

RING_S = 0.01
"""Between two rings: whoever is rung for looks once for all commits in between. At 20 ms it was most of the time from a
commit to what follows it in another process, where 50 are made a second; DBOS rings as often as this."""

AGAIN_S, AGAIN_MAX_S = 0.05, 2.0
"""Between two tries to connect, twice as long each time: a server that restarts is back within seconds."""


class Tail:
    """One process's tail of one database's log.

    Args:
        url: the database's address, past any pooler.
        probes: what each look asks for.
    """

    def __init__(self, url: str, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self._wire = wire_to(url, probes, self._heard)
        self._alarm = asyncio.Event()
        self._held: set[str] = set()
        self._is_open = False
        self._is_alert = False
        self._listeners: list[Callable[[], None]] = []
        self._losers: list[Callable[[], None]] = []
        self._following: asyncio.Task[None] | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._is_rung = False
        self._losses = 0
        self.looks = 0
        """How often it has looked."""

    def on_news(self, listener: Callable[[], None]) -> None:
        """Have *listener* called when there may be news: too often rather than too late."""
        self._listeners.append(listener)

    def on_lost(self, loser: Callable[[], None]) -> None:
        """Have *loser* called when everything that was claimed is lost, because the database was."""
        self._losers.append(loser)

    async def start(self) -> None:
        """Connect and begin to follow. Raises: Unavailable."""
        await self._wire.open()
        self._is_open = True
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Let go of everything."""
        await cancel(self._following, self._ringing)
        self._held.clear()
        await self._wire.close()

    def ring(self) -> None:
        """Something was committed by this process: tell everybody. Costs nothing to speak of, and never waits."""
        self._nudge()
        self._is_rung = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.get_running_loop().create_task(self._ring())

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        """The rows of *sql*, asked on the tail's own connection. Raises: Unavailable, also while it connects again."""
        if not self._is_open:
            raise Unavailable("the tail's connection is lost")
        try:
            return await self._wire.fetch(sql, *arguments)
        except Unavailable:
            self._lose()
            raise

    async def claim(self, name: str) -> bool:
        """Whether *name* is this process's own from now on; no other process can claim it until this one lets go of it,
        ends, or loses the database (see `on_lost`)."""
        if name in self._held:
            return True
        losses = self._losses
        try:
            is_ours = await self._wire.claim(name)
        except Unavailable:
            self._lose()
            return False
        # What was held by a connection that was lost while this waited is nobody's.
        if not is_ours or losses != self._losses:
            return False
        self._held.add(name)
        return True

    async def release(self, name: str) -> None:
        """Let others claim *name*."""
        if name in self._held:
            self._held.discard(name)
            try:
                await self._wire.release(name)
            except Unavailable:
                self._lose()

    def holds(self, name: str) -> bool:
        """Whether *name* is this process's own, as far as is known here."""
        return name in self._held

    async def _follow(self) -> None:
        pause, again = ALERT_S, AGAIN_S
        trouble = Trouble(log, "the log cannot be followed")
        while True:
            try:
                if not self._is_open:
                    await self._wire.open()
                    self._is_open = True
                    self._nudge()  # Nobody knows what was rung for in between.
                found = await self._wire.look()
            except Unavailable as error:
                self._lose()
                trouble.met(error)
                await asyncio.sleep(uniform(again / 2, again))  # noqa: S311 - to spread, not to hide
                again = min(again * 2, AGAIN_MAX_S)
                continue
            except Exception:
                # Whatever it was: a wire that is in doubt holds nothing, and without a tail nothing goes on.
                log.exception("the log cannot be followed; trying again")
                self._lose()
                with suppress(Exception):
                    await self._wire.close()
                await asyncio.sleep(AGAIN_MAX_S)
                continue
            trouble.over()
            again = AGAIN_S
            self.looks += 1
            pause = min(pause * GROWTH, IDLE_S)
            if any(value is not None and value <= 0 for value in found):
                self._nudge()
            if self._is_alert or any(
                value is not None and value <= 0 and probe.keeps_alert
                for value, probe in zip(found, self._probes, strict=True)
            ):
                self._is_alert = False
                if self._listeners:  # A process that only publishes is told of nothing sooner for looking.
                    pause = ALERT_S
            await self._wait(min([pause, *(value for value in found if value is not None and value > 0)]))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._alarm.wait()
        except TimeoutError:
            return
        self._alarm.clear()

    def _heard(self) -> None:
        """Another process has rung."""
        self._is_alert = True
        self._alarm.set()
        self._nudge()

    async def _ring(self) -> None:
        while self._is_rung:
            self._is_rung = False
            try:
                await self._wire.ring()
            except Unavailable:
                self._lose()
            except Exception:
                # The others look by themselves within a second.
                log.exception("others cannot be rung for")
            await asyncio.sleep(RING_S)

    def _nudge(self) -> None:
        for listener in self._listeners:
            listener()

    def _lose(self) -> None:
        was_open, self._is_open = self._is_open, False
        if was_open:
            self._losses += 1
            self._held.clear()
            self._alarm.set()
            for loser in self._losers:
                loser()
