"""Relays a database's log to a broker until it is killed: by others, or by itself at a step.

    python relaying.py DATABASE_URL BROKER_URL [STEP COUNT]

STEP is one of those below; COUNT says at which time of coming by it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence

from toque.log.cursor import Cursor
from toque.log.probe import EVENTS
from toque.log.reader import reader_of
from toque.log.tail import Tail
from toque.messages import relay
from toque.messages.brokers import Broker, Message, open_broker
from toque.store import open_store

STEPS = ("claimed", "before publish", "in publish", "published", "before move", "moved")
SOURCE = "urn:toque:relaying"


class Killed:
    """Kills its process the so manieth time that a step is passed."""

    def __init__(self, step: str, count: int) -> None:
        self._step, self._count = step, count
        self._passed: Counter[str] = Counter()

    def passes(self, step: str) -> None:
        self._passed[step] += 1
        if step == self._step and self._passed[step] == self._count:
            os.kill(os.getpid(), signal.SIGKILL)


class Publishing:
    """A broker whose publishing is killed."""

    def __init__(self, broker: Broker, killed: Killed) -> None:
        self._broker, self._killed = broker, killed
        self.name = broker.name
        self.connect, self.close = broker.connect, broker.close

    async def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        self._killed.passes("before publish")
        if messages:
            half = asyncio.create_task(self._broker.publish(messages, timeout_s))
            await asyncio.sleep(0.0005)
            self._killed.passes("in publish")
            await half
        self._killed.passes("published")


class Relay(relay.Relay):
    def __init__(self, killed: Killed, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._killed = killed

    async def _take(self) -> tuple[int, Cursor]:
        self._killed.passes("claimed")
        return await super()._take()

    async def _move(self, fence: int, cursor: Cursor) -> bool:
        self._killed.passes("before move")
        is_moved = await super()._move(fence, cursor)
        self._killed.passes("moved")
        return is_moved


async def main(database_url: str, broker_url: str, step: str = "", count: str = "0") -> None:
    killed = Killed(step, int(count))
    # A small batch has more steps to die between.
    relay.BATCH = 7
    store = open_store(database_url)
    await store.start()
    tail = Tail(database_url, (EVENTS,))
    await tail.start()
    broker = Publishing(open_broker(broker_url), killed)
    service = Relay(killed, store, reader_of(store), tail, broker, source=SOURCE)
    await service.start()
    print("relaying", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
