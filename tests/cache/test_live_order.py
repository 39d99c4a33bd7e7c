"""Followers under a scheduler that has anything happen between any two steps: what each is sent never goes back, is
never sent twice, and in the end is what the database has."""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Callable, Coroutine
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from fake_mvcc import FakeMvcc, Writing, answer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from toque.cache.entries import Entries
from toque.cache.front import Front
from toque.cache.live import Live
from toque.cache.policy import CachedQuery
from toque.cache.protocol import Seen
from toque.cache.runner import Runner
from toque.cache.snapshot import Snapshot
from toque.cache.subscription import Subscription
from toque.call.context import Context
from toque.contract.freshness import STRICT, Freshness
from toque.contract.operation import Kind, Priority
from toque.settings import Live as Limits

STEPS = 60
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""A shorter schedule costs minutes to find, and says no more than a seed does."""

FINISH_MAX = 500
ROUNDS = 12
"""Rounds of the loop in which everything that can go on by itself does."""

Rows = list[tuple[int, str, int]]


class Follower:
    """One subscription, and what it was sent."""

    def __init__(self, subscription: Subscription, floor: int) -> None:
        self.floor = floor
        self.subscription = subscription
        self.seen: list[Any] = []

    def take(self) -> None:
        state = self.subscription.take()
        if state is not None:
            self.seen.append(state.value())


class World:
    """One process that follows a database; each of its waits is ended by the schedule."""

    is_immediate = False

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.db = FakeMvcc()
        self.waits: list[Future[None]] = []
        self.tasks: set[Task[Any]] = set()
        self.followers: list[Follower] = []
        self.values = 0
        self.running = 0
        self.running_max = 0
        self.has_closed = False
        self.floor = 0
        """The state as of the last commit of this process: whoever comes later misses nothing of it."""
        entries = Entries(1_000_000)
        self.runner = Runner(entries, self, lambda _: None)
        cache: Any = SimpleNamespace(
            is_on=True, why_off="", runner=self.runner, entries=entries, captured=frozenset({"rows"}), readings=None,
            queries={}, bound_s=1000.0, need=lambda need: need,
        )  # fmt: skip
        query = CachedQuery(
            cache,
            "rows",
            Rows,
            None,
            Freshness(1000.0),
            is_about_caller=False,
            is_public=True,
            reads=["rows"],
            front=Front(),
        )
        cache.queries["rows"] = query
        self.live = Live(cache, Limits(), connections=8)
        operation = SimpleNamespace(name="rows", kind=Kind.QUERY)
        self.plan: Any = SimpleNamespace(
            operation=operation, call=query.stage(self.query), deadline_s=1000.0, standing=None, stages=()
        )

    # What the process does.

    async def pause(self) -> None:
        wait: Future[None] = asyncio.get_running_loop().create_future()
        self.waits.append(wait)
        await wait

    async def query(self, context: Context, arguments: Any) -> Rows:
        is_live = context.priority is Priority.SHEDDABLE
        self.running += is_live
        self.running_max = max(self.running, self.running_max)
        try:
            await self.pause()
            found = answer(self.db.states[self.db.now], ("a", "b"))
            await self.pause()
            return list(found)
        finally:
            self.running -= is_live

    async def look(self, before: Snapshot | None) -> Seen:
        await self.pause()
        found = self.db.look(before)
        await self.pause()
        return found

    def has_news(self) -> bool:
        return True

    def open(self) -> None: ...

    def close(self) -> None: ...

    # What happens.

    def actions(self) -> list[Callable[[], None]]:
        always = [self.begin, self.runner.wake, self.subscribe, self.ask]
        writers: list[Callable[[], None]] = []
        for writing in list(self.db.writing.values()):
            writers += [lambda w=writing: self.write(w), lambda w=writing: self.commit(w)]
        going_on: list[Callable[[], None]] = [self.go_on] * 6 if self.waits else []
        following: list[Callable[[], None]] = [self.take, self.take, self.leave] if self.followers else []
        return [*always, *writers, *going_on, *following]

    def begin(self) -> None:
        if len(self.db.writing) < 3:
            self.write(self.db.begin())

    def write(self, writing: Writing) -> None:
        rows = self.db.free_rows() + list(writing.rows)
        if rows:
            self.values += 1
            row = rows[self.choose(len(rows))]
            self.db.write(writing, row, "ab"[row % 2], self.values)

    def commit(self, writing: Writing) -> None:
        state = self.db.commit(writing)
        if self.choose(2):
            self.runner.committed()
            self.floor = state

    def go_on(self) -> None:
        self.waits.pop(self.choose(len(self.waits))).set_result(None)

    def subscribe(self) -> None:
        if len(self.followers) < 4:
            self.spawn(self._subscribe())

    async def _subscribe(self) -> None:
        floor = self.floor
        subscription = await self.live.subscribe(self.plan, Context.within("rows", 1000.0), ())
        self.followers.append(Follower(subscription, floor))

    def ask(self) -> None:
        """Somebody asks once, and may start a run beside that of the followers."""
        context = Context.within("rows", 1000.0)
        context.takes_kept = True
        context.freshness = (None, STRICT, Freshness(0.0))[self.choose(3)]
        self.spawn(self.plan.call(context, ()))

    def take(self) -> None:
        self.followers[self.choose(len(self.followers))].take()

    def leave(self) -> None:
        follower = self.followers.pop(self.choose(len(self.followers)))
        follower.take()
        self.live.leave(follower.subscription)
        # A run that nobody waits for any more ends by itself, beside one for those who come.
        self.has_closed = self.has_closed or self.live.topics == 0
        self.check(follower)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # What must be true.

    def check(self, follower: Follower) -> None:
        states = [list(answer(state, ("a", "b"))) for state in self.db.states]
        places = [states.index(seen) for seen in follower.seen]
        assert places == sorted(set(places)), f"sent {places} of {len(states)} states"
        # A commit may have changed nothing.
        is_early = bool(places) and places[0] < follower.floor and states[follower.floor] != states[places[0]]
        assert not is_early, f"sent {places[0]}, which misses {follower.floor}"

    async def run(self) -> None:
        self.runner.start()
        for _ in range(STEPS):
            actions = self.actions()
            actions[self.choose(len(actions))]()
            await self.settle()
        await self.finish()
        await self.live.stop()
        await self.runner.stop()

    async def finish(self) -> None:
        for writing in list(self.db.writing.values()):
            self.db.commit(writing)
        for _ in range(FINISH_MAX):
            self.runner.wake()
            await self.settle()
            while self.waits:
                self.go_on()
                await self.settle()
            for follower in self.followers:
                follower.take()
            if not self.tasks and self.live.is_idle:
                break
        last = list(answer(self.db.states[-1], ("a", "b")))
        for follower in self.followers:
            self.check(follower)
            assert follower.seen[-1] == last, "the last state was not sent"
        assert self.running_max <= 1 or self.has_closed, "one run of a key at a time"

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens by itself: the schedule looks, and nobody hurries."""
    monkeypatch.setattr("toque.cache.runner.BACKSTOP_S", 1000.0)
    monkeypatch.setattr("toque.cache.runner.HURRY_S", 1000.0)


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_states_go_forward_in_any_order_of_events(data: st.DataObject) -> None:
    asyncio.run(World(lambda n: data.draw(st.integers(0, n - 1))).run())


def test_states_go_forward_in_many_orders_of_events() -> None:
    for seed in range(250):
        asyncio.run(World(Random(seed).randrange).run())
