"""Followers under a scheduler that has anything happen between any two steps: what each is sent never goes back, is
never sent twice, and in the end is what the database has."""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Coroutine
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
from toque.cache.topic import Topic
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


class LiveInSteps(Live):
    """Gives way to others wherever it may, for as long as the schedule likes."""

    def __init__(self, cache: Any, pause: Callable[[], Awaitable[None]]) -> None:
        super().__init__(cache, Limits(), connections=8)
        self._pause = pause

    async def _give_way(self, seconds: float = 0.0) -> None:
        await self._pause()


class World:
    """One process that follows a database; each of its waits is ended by the schedule."""

    is_immediate = False

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.db = FakeMvcc()
        self.waits: list[Future[None]] = []
        self.tasks: set[Task[Any]] = set()
        self.errors: list[BaseException] = []
        self.followers: list[Follower] = []
        self.values = 0
        self.told = 0
        """States that were taken."""
        self.running = 0
        self.running_max = 0
        self.has_closed = False
        self.floor = 0
        """The state as of the last commit of this process: whoever comes later misses nothing of it."""
        entries = Entries(1_000_000)
        self.runner = Runner(entries, self, lambda _: None)
        cache: Any = SimpleNamespace(
            is_on=True, why_off="", runner=self.runner, entries=entries, captured=frozenset({"rows"}), readings=None,
            queries={}, bound_s=1000.0, need=lambda need: need, shared=None, is_sampled=lambda: False,
        )  # fmt: skip
        query = CachedQuery(
            cache,
            "rows",
            Rows,
            None,
            Freshness(1000.0),
            is_about_caller=False,
            is_public=True,
            inputs=(),
            reads=["rows"],
            front=Front(),
        )
        cache.queries["rows"] = query
        self.live = LiveInSteps(cache, self.pause)
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
        self.ask_for((None, STRICT, Freshness(0.0))[self.choose(3)])

    def ask_for(self, freshness: Freshness | None) -> None:
        context = Context.within("rows", 1000.0)
        context.takes_kept = True
        context.freshness = freshness
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
        task.add_done_callback(self._ended)

    def _ended(self, task: Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    # What must be true.

    def check(self, follower: Follower) -> None:
        self.told += len(follower.seen)
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

    async def run_through(self, happen: Callable[[World], Awaitable[None]]) -> None:
        self.runner.start()
        self.runner.wake()
        await self.settle_waits()
        await happen(self)
        await self.finish()

    def change(self) -> int:
        """Somebody commits one more value: the state with it."""
        writing = self.db.begin()
        self.write(writing)
        return self.db.commit(writing)

    async def finish(self) -> None:
        for writing in list(self.db.writing.values()):
            self.db.commit(writing)
        for _ in range(FINISH_MAX):
            self.runner.wake()
            await self.settle_waits()
            for follower in self.followers:
                follower.take()
            if not self.tasks and self.live.is_idle:
                break
        last = list(answer(self.db.states[-1], ("a", "b")))
        for follower in self.followers:
            self.check(follower)
            assert follower.seen[-1] == last, "the last state was not sent"
        assert not self.errors
        assert self.running_max <= 1 or self.has_closed, "one run of a key at a time"
        await self.live.stop()
        await self.runner.stop()

    async def settle_waits(self) -> None:
        """Let everything go on that waits, until nothing does."""
        await self.settle()
        while self.waits:
            await self.step()

    async def step(self) -> None:
        await self.settle()
        self.go_on()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens by itself: the schedule looks, and nobody hurries."""
    monkeypatch.setattr("toque.cache.runner.BACKSTOP_S", 1000.0)
    monkeypatch.setattr("toque.cache.runner.HURRY_S", 1000.0)
    monkeypatch.setattr("toque.cache.live.SLICE", 1)


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_states_go_forward_in_any_order_of_events(data: st.DataObject) -> None:
    asyncio.run(World(lambda n: data.draw(st.integers(0, n - 1))).run())


def many_orders() -> None:
    told = 0
    for seed in range(250):
        world = World(Random(seed).randrange)
        asyncio.run(world.run())
        told += world.told
    assert told > 500, "followers are told something at all"


def one_lands_late() -> None:
    """A call that has read before a commit is answered after one that has read later, and takes its place in memory."""

    async def happen(world: World) -> None:
        world.ask_for(None)
        await world.step()
        late = world.waits.pop()
        world.change()
        world.ask_for(Freshness(0.0))
        await world.settle_waits()
        world.subscribe()
        await world.settle()
        [follower] = world.followers
        follower.take()
        late.set_result(None)
        await world.settle()
        follower.take()

    asyncio.run(World(lambda n: n - 1).run_through(happen))


def one_comes_during_a_run() -> None:
    """Somebody commits and then follows what is being found out for another one, as of before that commit."""

    async def happen(world: World) -> None:
        world.subscribe()
        await world.settle_waits()
        world.change()
        world.runner.wake()
        for _ in range(3):  # The look's two waits, and the run's first.
            await world.step()
        early = world.waits.pop()
        world.floor = world.change()
        world.runner.committed()
        world.subscribe()
        await world.settle_waits()
        early.set_result(None)
        await world.settle()
        while world.waits:
            await world.step()
            for follower in world.followers:
                follower.take()

    asyncio.run(World(lambda n: n - 1).run_through(happen))


def test_states_go_forward_in_many_orders_of_events() -> None:
    many_orders()


def test_nobody_is_told_what_lands_late() -> None:
    one_lands_late()


def test_whoever_comes_during_a_run_is_told_of_his_own_commit() -> None:
    one_comes_during_a_run()


# Each rule taken away once: some order of events must show it.


def _asks_once(topic: Topic) -> None:
    if not topic.is_closed and not topic.is_asked:
        topic.is_asked = True
        topic._on_stale(topic)


def _trusts_what_it_found(topic: Topic, answer: Any) -> bool:
    is_other = topic.answer is None or topic.answer.body != answer.body
    topic.answer, topic.failures = answer, 0
    topic._runner.watch(topic.key, answer, topic.ask)
    return is_other


def _takes_any_run(topic: Topic, subscription: Subscription, answer: Any) -> None:
    _join(topic, subscription, answer)
    subscription.after = 0


def _takes_his_own(topic: Topic, subscription: Subscription, answer: Any) -> None:
    _join(topic, subscription, answer)
    subscription.offer(answer)


_join = Topic.join

REMOVED: dict[str, tuple[Callable[[], None], str, Any]] = {
    "a run is strict": (one_lands_late, "toque.cache.live.STRICT", None),
    "what changes during a run asks for one more": (many_orders, "toque.cache.topic.Topic.ask", _asks_once),
    "what has changed when a run ends asks for one more": (
        many_orders,
        "toque.cache.topic.Topic.found",
        _trusts_what_it_found,
    ),
    "whoever comes is not told what a run found that began before": (
        one_comes_during_a_run,
        "toque.cache.topic.Topic.join",
        _takes_any_run,
    ),
    "whoever comes is told the newest state": (many_orders, "toque.cache.topic.Topic.join", _takes_his_own),
}


@pytest.mark.parametrize("rule", REMOVED)
def test_without_a_rule_some_order_breaks_the_promise(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    orders, place, instead = REMOVED[rule]
    monkeypatch.setattr(place, instead)

    with pytest.raises(AssertionError):
        orders()
