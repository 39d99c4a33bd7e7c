"""A consumer has one owner, another one when that has ended, and two at the same moment do no harm."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bells import Broken, Rung, bells, heard, heard_by_bell, parked, rows_of, silent, store_of, until

from toque.log.reader import reader_of
from toque.messages.consumers import Consumers
from toque.messages.parked import Parked, Parking
from toque.messages.register import Fenced, Register
from toque.settings import Messages, Settings
from toque.testing import Harness, running

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toque.messages.backoff.FIRST_S", 0.01)
    monkeypatch.setattr("toque.messages.consumers.TRY_S", 0.05)


def consumers_of(harness: Harness) -> Consumers:
    messages = harness.serving.system.messages
    assert messages is not None
    assert messages.consumers is not None
    return messages.consumers


async def test_a_consumer_has_one_owner(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as one:
        await until(lambda: consumers_of(one).owned)
        async with running(bells(silent), database_url=database_url) as other:
            await other.call("bells.ring", numbers=[1, 2, 3], bell="door")
            await one.settle()

            assert await heard(store_of(one)) == [1, 2, 3]
            assert not consumers_of(other).owned


async def test_another_process_takes_over_when_the_owner_stops(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as other:
        await until(lambda: consumers_of(other).owned)
        async with running(bells(silent), database_url=database_url) as one:
            await other.serving.system.messages.consumers.stop()  # type: ignore[union-attr]
            await one.call("bells.ring", numbers=[1, 2], bell="door")
            await one.settle()

            assert await heard(store_of(one)) == [1, 2]
            assert await rows_of(store_of(one), "SELECT fence, crashes FROM toque.consumer") == [(2, 0)]


@asynccontextmanager
async def two_owners(url: str, monkeypatch: pytest.MonkeyPatch, hear: Any) -> AsyncIterator[tuple[Harness, Harness]]:
    """The first one goes on after the second one has taken over, as one that was frozen does when it wakes up."""
    async with running(bells(hear, attempts_max=4), database_url=url) as one:
        await until(lambda: consumers_of(one).owned)

        async def claim(self: Any, name: str) -> bool:
            return self is not consumers_of(one)._tail

        monkeypatch.setattr("toque.log.tail.Tail.claim", claim)
        async with running(bells(hear, attempts_max=4), database_url=url) as other:
            yield one, other


@pytest.mark.parametrize("seed", range(4))
async def test_two_owners_handle_an_event_once_and_in_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    left = {number: chance.choice([0, 0, 0, 1, 2]) for number in range(60)}

    async def hear(event: Rung) -> None:
        await asyncio.sleep(chance.uniform(0, 0.004))
        if left[event.number]:
            left[event.number] -= 1
            raise Broken("not yet")

    async with two_owners(database_url, monkeypatch, hear) as (one, other):
        for start in range(0, 60, 6):
            await one.call(
                "bells.ring_each", bells=[(chance.choice("abc"), number) for number in range(start, start + 6)]
            )
            await asyncio.sleep(0.01)
        await until(lambda: _has_heard(other, 60))

        found = await heard_by_bell(store_of(other))
        assert all(numbers == sorted(numbers) for numbers in found.values()), found
        assert sorted(number for numbers in found.values() for number in numbers) == list(range(60))
        await until(lambda: _is_empty(other))


async def _has_heard(harness: Harness, count: int) -> bool:
    return len(await heard(store_of(harness))) >= count


async def _is_empty(harness: Harness) -> bool:
    return await parked(store_of(harness)) == []


async def test_a_former_owner_can_note_nothing(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        store = store_of(harness)
        register, parked_events = Register(store), Parked(store)
        entries, after = await harness.serving.system.messages.reader.read(  # type: ignore[union-attr]
            (await register.rows())[0].cursor
        )
        former = await register.take("bells.hear", -1)
        assert former is not None
        await register.take("bells.hear", -1)

        with pytest.raises(Fenced):
            await register.move(former, after, is_well=True)
        with pytest.raises(Fenced):
            await parked_events.add(former, [Parking(entry=entry, holds=True) for entry in entries])
        with pytest.raises(Fenced):
            await parked_events.start(former, 1)
        assert await parked(store) == []


async def test_what_was_handled_is_not_to_blame_for_an_end_after_it(database_url: str) -> None:
    # Two owners in a row had been killed between the handler's commit and the note of it: its key was held up for ever.
    async with running(bells(silent), database_url=database_url) as harness:
        begin = await reader_of(store_of(harness)).now()
        await harness.call("bells.ring", numbers=[1], bell="door")
        await harness.settle()
    async with running(bells(silent), settings=IDLE, database_url=database_url) as harness:
        store = store_of(harness)
        register, parked_events = Register(store), Parked(store)
        entries, _ = await reader_of(store).read(begin)
        first = await register.take("bells.hear", -1)
        assert first is not None
        await parked_events.add(first, [Parking(entry=entry, holds=True) for entry in entries])
        assert len(await parked_events.start(first, 1)) == 1
        second = await register.take("bells.hear", -1)
        assert second is not None

        held = await parked_events.recover(second, has_crashed=True, crashes_max=1, holds=True)

        assert held == set()
        assert await parked(store) == []


async def test_what_is_tried_beside_others_is_not_to_blame_for_an_end(database_url: str) -> None:
    # Two owners in a row had been ended by something else, and all that both had been trying was put aside.
    async with running(bells(silent), settings=IDLE, database_url=database_url) as harness:
        register = Register(store_of(harness))

        taken = [await register.take("bells.hear", -1) for _ in range(4)]

        assert [(tenure.crashes, tenure.has_crashed) for tenure in taken if tenure] == [
            *[(0, False), (1, False), (2, False), (3, True)]
        ]


CHILDREN = """
import asyncio, os, signal, sys
from bells import bells, silent
from toque.settings import Database, Secret, Settings
from toque.messages import consumers, messages
from toque.store import postgres, schema, sqlite
import toque.log.postgres_wire, toque.log.sqlite_wire

consumers.TRY_S = 0.05

def hear(event):
    if event.number == 13:
        os.kill(os.getpid(), signal.SIGKILL)

async def main(url):
    serving = bells(hear).serve(Settings(database=Database(url=Secret(url))))
    await serving.start()
    await asyncio.sleep(60)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        asyncio.run(main(line.strip()))
        os._exit(0)
    print(pid, flush=True)
"""


class Child:
    """A process that serves, forked from one that has imported all it needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def is_alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    async def kill(self) -> None:
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
        await until(lambda: not self.is_alive)


@pytest.fixture(scope="module")
def child() -> Iterator[Callable[[str], Child]]:
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-c", CHILDREN]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def fork(url: str) -> Child:
            parent.stdin.write(f"{url}\n".encode())
            parent.stdin.flush()
            return Child(int(parent.stdout.readline()))

        yield fork
        parent.kill()


async def test_an_event_that_ends_the_process_is_put_aside_and_the_others_are_handled(
    database_url: str, child: Callable[[str], Child]
) -> None:
    async with running(bells(silent), settings=IDLE, database_url=database_url) as harness:
        await harness.call("bells.ring_each", bells=[("door", 1), ("desk", 13), ("desk", 14), ("door", 2)])
        ends = 0
        process = child(database_url)
        while not await _has_quarantined(harness):
            await asyncio.sleep(0.02)
            if not process.is_alive:
                ends += 1
                process = child(database_url)
        await until(lambda: _has_heard(harness, 2))
        await process.kill()

        assert ends == 4
        assert sorted(await heard(store_of(harness))) == [1, 2]
        found = await parked(store_of(harness))
        assert [(state, number, crashes, reason) for state, number, _, crashes, reason in found] == [
            *([("dead", 13, 2, "crash"), ("behind", 14, 0, "")])
        ]


IDLE = Settings(messages=Messages(work=False))


async def _has_quarantined(harness: Harness) -> bool:
    return any(row[0] == "dead" for row in await parked(store_of(harness)))


async def test_what_a_killed_owner_had_begun_is_handled_by_the_next(
    database_url: str, child: Callable[[str], Child]
) -> None:
    async with running(bells(silent), settings=IDLE, database_url=database_url) as harness:
        process = child(database_url)
        await harness.call("bells.ring", numbers=list(range(1, 13)), bell="door")
        await until(lambda: _has_heard(harness, 1))
        await process.kill()
        async with running(bells(silent), database_url=database_url) as next_one:
            await next_one.call("bells.ring", numbers=[13], bell="door")
            await until(lambda: _has_heard(next_one, 13))

            assert await heard(store_of(next_one)) == list(range(1, 14))
