"""Delivers webhooks: one process of an app at a time, so that no row is fought for.

Sending is waiting, and one event loop waits for many. The claim ends with the process that holds it, and the next one
goes on with what it finds in the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from toque.call.counts import Count
from toque.call.tasks import cancel
from toque.contract.errors import Unavailable
from toque.log.tail import Tail
from toque.messages.webhooks.deliveries import Deliveries, Due, Ready
from toque.messages.webhooks.fan_out import FanOut
from toque.messages.webhooks.outcome import Verdict
from toque.messages.webhooks.sending import Message, deliver

if TYPE_CHECKING:
    from toque.http_client.outgoing import Outgoing
    from toque.settings.tree import Webhooks

__all__ = ["Dispatcher"]

log = logging.getLogger("toque.webhooks")

CLAIM = "webhooks"

CLAIM_S = 5.0
"""Between two tries to become the one that delivers: after the death of another, deliveries go on this much later."""

BUSY_S, GATHER_S = 1.0, 0.01
"""How long to wait where everything that is due has no room, at most; and for how long what ends at about one time is
gathered before the next look."""

LOOK_S = 60.0
"""How long to wait where nothing is due: whatever makes something due rings, but for the command line."""

SWEEP_S = 3600.0
"""Between two sweeps; one that left some is followed by another after `BUSY_S`: a receiver that is dead for days leaves
more than one takes."""

GRACE_S = 5.0
"""How long a stopping process waits for answers. What has none by then is delivered by the next one."""

FAILING_SHARE = 4
"""Of all requests at once a quarter may go to endpoints that fail, each with one: they are those that take long."""


class Dispatcher:
    """Delivers what is due. A service of `Messages`."""

    def __init__(
        self, fan_out: FanOut, deliveries: Deliveries, tail: Tail, outgoing: Outgoing, settings: Webhooks
    ) -> None:
        self._fan_out = fan_out
        self._deliveries = deliveries
        self._tail = tail
        self._outgoing = outgoing
        self._settings = settings
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], tuple[Ready, Due]] = {}
        self._working: asyncio.Task[None] | None = None
        self._sweep_due = time.monotonic() + SWEEP_S
        self._tries: Counter[Verdict] = Counter()
        self._disabled = 0

    def counts(self) -> Iterator[Count]:
        """What was done here."""
        for verdict in Verdict:
            yield Count("webhook_tries", {"outcome": str(verdict)}, self._tries[verdict])
        yield Count("webhook_endpoints_disabled", {}, self._disabled)

    async def start(self) -> None:
        self._tail.on_news(self._wake.set)
        self._tail.on_lost(self._fan_out.forget)
        self._working = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        await cancel(self._working)
        if not self._running:
            return
        await asyncio.wait(self._running, timeout=GRACE_S)
        left = dict(self._running)
        await cancel(*left)
        if left:
            await self._deliveries.give_back([due for _, due in left.values()], time.time())

    async def _work(self) -> None:
        while True:
            try:
                pause = await self._look()
            except Unavailable as error:
                log.warning("webhooks wait: %s", error)
                pause = CLAIM_S
            except Exception:
                log.exception("webhooks could not be looked for")
                pause = CLAIM_S
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(GATHER_S)
            self._wake.clear()

    async def _look(self) -> float:
        """Begin all that is due and has room; how long to wait for more."""
        if not await self._tail.claim(CLAIM):
            return CLAIM_S
        while await self._fan_out.step():
            pass
        now = time.time()
        for endpoint in await self._deliveries.ready(now):
            room = self._room(endpoint)
            if room > 0:
                for due in await self._deliveries.take(endpoint.id, now, room):
                    self._begin(endpoint, due)
        if time.monotonic() > self._sweep_due:
            has_more = await self._deliveries.sweep(now)
            self._sweep_due = time.monotonic() + (0.0 if has_more else SWEEP_S)
            if has_more:
                return BUSY_S
        following = await self._deliveries.next_due()
        if following is None:
            return LOOK_S
        # What is due and has no room begins when a request ends, which wakes.
        return min(LOOK_S, following - now) if following > now else BUSY_S

    def _room(self, endpoint: Ready) -> int:
        """How many requests to *endpoint* may begin: a slow or dead receiver must not take all there are."""
        is_failing = endpoint.health.failing_since is not None
        here = sum(ready.id == endpoint.id for ready, _ in self._running.values())
        alike = Counter(ready.health.failing_since is not None for ready, _ in self._running.values())[is_failing]
        total, each = self._settings.in_flight_max, self._settings.endpoint_in_flight_max
        if is_failing:
            total, each = max(1, total // FAILING_SHARE), 1
        return min(each - here, total - alike)

    def _begin(self, endpoint: Ready, due: Due) -> None:
        task = asyncio.get_running_loop().create_task(self._try(endpoint, due))
        self._running[task] = endpoint, due
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what became of a webhook could not be written down", exc_info=error)

    async def _try(self, endpoint: Ready, due: Due) -> None:
        message = Message(due.message, due.body.encode())
        outcome = await deliver(self._outgoing, endpoint.url, endpoint.keys, message, self._settings.timeout_s)
        self._tries[outcome.verdict] += 1
        why = await self._deliveries.finish(endpoint, due, outcome, time.time())
        if why:
            self._disabled += 1
            log.warning("webhook endpoint %s is disabled: %s", endpoint.id, why)
            self._tail.ring()
