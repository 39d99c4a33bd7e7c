"""One run of a scenario under one schedule: nodes are born and harmed, clients ask until they know, all is checked."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from msgspec import Struct

from toque.contract.errors import CODES
from toque.store.store import Store, open_store
from toque.testing.faults.blows import Blows
from toque.testing.faults.checker import Finding, State, check
from toque.testing.faults.history import Line, lines_of
from toque.testing.faults.node import Life
from toque.testing.faults.remote import Remote, decode_word
from toque.testing.faults.scenario import Call, Scenario
from toque.testing.faults.schedule import Schedule
from toque.testing.faults.site import Site

__all__ = ["Outcome", "Trial"]

TRIES_MAX = 200
"""How often a client asks for one call: with the pauses in between, some twenty seconds."""

AGAIN_S = 0.1
"""Between two tries: a database that was restarted is back within seconds."""

LOOK_AGAIN_S = 0.05
"""Between two looks at what handlers and jobs still owe."""

STOP_S = 20.0
"""How long an orderly stop may take: longer than any deadline of a call."""

TRIAL_S = 180.0
"""How long all of it may take; a run without a hang takes a second or two, one with a restarted database ten, and on a
machine with a lot else to do ten times that."""

UNKNOWN = frozenset({"outcome_unknown", "deadline_exceeded", "internal"})
"""Codes after which nobody knows whether the call was done."""


class Outcome(Struct, frozen=True):
    """How a run ended."""

    schedule: Schedule
    findings: Sequence[Finding]
    met: Sequence[str]
    """The faults that came about: not every step of a schedule is reached."""
    counts: Counter[str]
    """How often everything in the history happened."""
    folder: Path


class _NobodyStarts(Exception):
    pass


class Trial:
    """One run.

    Args:
        bear: begins a life.
    """

    def __init__(self, scenario: Scenario, schedule: Schedule, site: Site, bear: Callable[[Life], None]) -> None:
        self.nodes = {
            name: Remote(name, site.history, partial(self._begin, name), partial(site.cut, name))
            for name in schedule.nodes
        }
        self._scenario = scenario
        self._schedule = schedule
        self._site = site
        self._socket = str(site.folder / "socket")
        self._bear = bear
        self._blows = Blows(schedule, self.nodes, site)
        self._findings: list[Finding] = []
        self._heard: set[asyncio.Task[None]] = set()

    async def run(self) -> Outcome:
        """Play it, and say what came of it."""
        server = await asyncio.start_unix_server(self._welcome, self._socket)
        store = open_store(self._site.url)
        await store.start()
        try:
            async with asyncio.timeout(TRIAL_S):
                await self._play(store)
        except TimeoutError:
            self._findings.append(Finding("hangs", f"it was not over after {TRIAL_S} s"))
        except _NobodyStarts:
            self._findings.append(Finding("does not start", "no node came up any more; see the logs"))
        finally:
            for node in self.nodes.values():
                node.end()
            await self._blows.end()
            await asyncio.gather(*self._heard)
            server.close()
        state = await store.query(self._scenario.read)
        await store.stop()
        return self._outcome(state)

    async def _play(self, store: Store) -> None:
        for node in self.nodes.values():
            node.begin()
        await self._serve_clients()
        await self._blows.end()
        await self._settle(store)
        await self._stop()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A life has come to be, and says which."""
        task = asyncio.current_task()
        assert task is not None
        self._heard.add(task)
        task.add_done_callback(self._heard.discard)
        if first := await reader.readline():
            word = decode_word(first)
            await self.nodes[word.life.partition(".")[0]].speak(word.pid, reader, writer)

    def _begin(self, name: str, number: int) -> None:
        schedule = self._schedule
        at_steps = tuple(fault for fault in schedule.at_steps if (fault.node, fault.life) == (name, number))
        self._bear(
            Life(
                f"{name}.{number}",
                self._socket,
                str(self._site.history_path),
                str(self._site.folder / f"{name}.{number}.log"),
                self._site.url_of(name),
                str(self._site.folder),
                at_steps,
                schedule.clocks.get(name),
            )
        )

    # The clients.

    async def _serve_clients(self) -> None:
        calls = self._scenario.calls(self._random("calls"))
        count = self._scenario.clients
        clients = [self._client(calls[number::count], self._random(f"client {number}")) for number in range(count)]
        await asyncio.gather(*clients)

    def _random(self, of: str) -> Random:
        return Random(f"{of} of {self._schedule.seed}")  # noqa: S311 - has to come again

    async def _client(self, calls: Sequence[Call], random: Random) -> None:
        for call in calls:
            for _ in range(TRIES_MAX):
                if await self._ask(call, random):
                    break
                await asyncio.sleep(AGAIN_S * random.random())
            else:
                self._findings.append(Finding("never answered", f"{call.id} was asked for {TRIES_MAX} times"))

    async def _ask(self, call: Call, random: Random) -> bool:
        """Ask some node; returns whether the client knows all that he can know."""
        node = random.choice(await self._ready())
        self._note("asked", call)
        word = await node.ask(call)
        if word is None or word.code in UNKNOWN:
            self._note("unknown", call, "" if word is None else word.code)
            return not call.is_once
        if not word.code:
            self._note("answered", call, word.answer)
            self._blows.count()
            return True
        self._note("refused", call, word.code)
        if word.code not in CODES:
            self._findings.append(Finding("crash", f"{call.id} in {node.life}: {word.code}"))
        return not (word.code in CODES and CODES[word.code].is_retryable)

    async def _ready(self) -> list[Remote]:
        """The nodes that have started, as soon as there are some."""
        while not (ready := [node for node in self.nodes.values() if node.is_ready.is_set()]):
            if all(node.is_given_up for node in self.nodes.values()):
                raise _NobodyStarts
            await asyncio.sleep(LOOK_AGAIN_S)
        return ready

    def _note(self, what: str, call: Call, told: str = "") -> None:
        self._site.history.write(Line(what=what, id=call.id, is_once=call.is_once, told=told[:1000]))  # type: ignore[arg-type]

    # The end.

    async def _settle(self, store: Store) -> None:
        """Wait until everything that is owed was done, or for as long as that may take."""
        for _ in range(int(self._scenario.settled_s / LOOK_AGAIN_S)):
            # Asked first: what was done in between would not be seen.
            is_busy = any(node.is_busy for node in self.nodes.values())
            state = await store.query(self._scenario.read)
            if not is_busy and not any(finding.may_heal for finding in self._check(state)):
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        for node in self.nodes.values():
            node.signal(signal.SIGUSR1)  # See `node._tell_tasks`.

    async def _stop(self) -> None:
        await asyncio.gather(*(self._stop_one(node) for node in self.nodes.values()))

    async def _stop_one(self, node: Remote) -> None:
        while not node.is_ready.is_set() and not node.is_given_up:  # noqa: ASYNC110 - either of two things
            await asyncio.sleep(LOOK_AGAIN_S)
        if node.is_given_up:
            self._findings.append(Finding("does not start", f"{node.name} was started {node.lives} times"))
            return
        node.stop()
        try:
            async with asyncio.timeout(STOP_S):
                await node.is_over.wait()
        except TimeoutError:
            self._findings.append(Finding("does not stop", f"{node.life} had {STOP_S} s to stop in order"))

    def _check(self, state: State) -> list[Finding]:
        return check(lines_of(self._site.history_path), state, self._scenario.rules)

    def _outcome(self, state: State) -> Outcome:
        lines = list(lines_of(self._site.history_path))
        return Outcome(
            self._schedule,
            [*self._findings, *self._check(state)],
            [f"{line.life}: {line.told}" for line in lines if line.what == "hurt"],
            Counter(line.what for line in lines),
            self._site.folder,
        )
