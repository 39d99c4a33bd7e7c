"""Live queries: the answer of a query now, and again whenever it changes.

What is followed is an answer in the cache. When a change drops it, it is found out once, whoever and however many
follow it, and each of them is offered the same bytes. What that costs depends on the answers that changed.

A run asks for what misses nothing that was acknowledged before it (`STRICT`). So a state never is older than one that
was sent before it: whatever that had seen was committed, and a look that starts later sees it too.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from asyncio import Task
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context as Variables
from time import monotonic
from typing import TYPE_CHECKING, Any

from toque.cache.kept import KeptAnswer
from toque.cache.subscription import Subscription
from toque.cache.topic import Topic
from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.call.plan import Arguments, Plan
from toque.call.receive import Pending
from toque.call.tasks import cancel
from toque.contract.errors import Error, Internal, Overloaded, Unavailable, Unimplemented
from toque.contract.freshness import STRICT
from toque.contract.operation import Kind, Priority

if TYPE_CHECKING:
    from toque.cache.cache import Cache
    from toque.cache.knowledge import Key
    from toque.settings import Live as Limits

__all__ = ["Live", "is_passing", "why_not_live"]

log = logging.getLogger("toque.live")

TICK_S = 0.05
CHECK_S = 0.9
"""How often each caller is looked at again: with a tick, once a second. Many are not looked at all at once."""

SPLAY_ABOVE, SPLAY_S = 200, 0.005
"""Where more topics than that are stale at once, each run is followed by a pause, as Convex does
(`splay`): calls go on meanwhile."""

AT_ONCE_SHARE = 4
"""Runs take one of so many connections at most: three of four are for calls."""

SLICE = 500
"""Followers who are offered a state before others have their turn: some milliseconds."""

RETRY_S, RETRY_MAX_S = 0.1, 2.0
"""How soon a run that found no room, or no database, is tried again: twice as long each time."""

LOST_S = 30.0
"""How long nobody need be able to say whether a state still holds, before its followers are told so: what a failover
takes, or a restart."""

BACK_S = 1.0
"""How soon a client whose subscription ended for no fault of its own may come back."""


LATER_S = 5.0
"""And where nothing can be followed now: as often as the cache looks whether it can (`cache.RETRY_S`)."""


def why_not_live(plan: Plan, cache: Cache | None) -> str:
    """Why the answer of *plan* cannot be followed, and what to do; empty where it can."""
    if plan.operation.kind is not Kind.QUERY:
        return "only a query is live; this is a command"
    query = None if cache is None else cache.queries.get(plan.operation.name)
    if cache is None or query is None:
        stage = next((stage for stage in plan.stages if stage.name == "cache"), None)
        why = "it asks for no Database" if stage is None else stage.why.removeprefix("not cached: ")
    elif not query.why_not or query.is_blind:
        return ""
    else:
        why = query.why_not
    remedy = "" if plan.operation.reads is not None else "; `reads=[...]` names what it depends on"
    return f"only a cached query is live, and {why}{remedy}"


class Live:
    """All live queries of one process. It has no timer and no task while nobody follows anything.

    Args:
        connections: how many the store has, of which runs take a share.
    """

    def __init__(self, cache: Cache, limits: Limits, connections: int) -> None:
        self.limits = limits
        self.runs = 0
        """How many runs were begun because something had changed, or a follower came."""
        self.states = 0
        """How many states followers were given after their first."""
        self.ended: Counter[str] = Counter()
        """How many subscriptions were ended, by the code of what they were told."""
        self._cache = cache
        self._at_once = max(1, connections // AT_ONCE_SHARE)
        self._topics: dict[Key, Topic] = {}
        self._followers: dict[Subscription, None] = {}
        self._coming = 0
        self._stale: deque[Topic] = deque()
        self._running: set[Task[None]] = set()
        self._looks: deque[tuple[float, Subscription]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    @property
    def subscriptions(self) -> int:
        """How many there are."""
        return len(self._followers)

    @property
    def topics(self) -> int:
        """How many different answers are followed."""
        return len(self._topics)

    @property
    def bytes(self) -> int:
        """What the answers take that are followed."""
        return self._cache.entries.held_bytes

    @property
    def is_idle(self) -> bool:
        """Whether no answer is being found out, or will be before the next change."""
        return not any(topic.is_asked for topic in self._topics.values())

    async def subscribe(
        self, plan: Plan, context: Context, arguments: Any, on_news: Callable[[], None] | None = None
    ) -> Subscription:
        """Let the caller of *context* in, as for any call, and have him follow the answer from then on.

        Raises: what the plan raises; Unimplemented where it cannot be followed; Overloaded, Unavailable.
        """
        self._admit(plan)
        self._coming += 1
        try:
            pending = _Remembered(arguments)
            context.takes_kept = True
            if context.freshness is not None and context.freshness.is_bypassed:
                # What is followed is kept.
                context.freshness = STRICT
            answer = await plan.call(context, pending.arguments)
        finally:
            self._coming -= 1
        if not isinstance(answer, KeptAnswer):
            raise self._refusal(plan, context.cache_key) or _unsure()
        if self._is_stopping:
            raise _stopping()
        stands = None if plan.standing is None else plan.standing(context, pending.values)
        subscription = Subscription(context.caller, stands, on_news)
        self._followers[subscription] = None
        topic = self._topic(plan, pending.values, context.cache_key)
        if not topic.followers:
            topic.found(answer)
        topic.join(subscription, answer)
        self._looks.append((monotonic() + CHECK_S, subscription))
        if self._timer is None:
            self._begin_tick()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """The follower has gone."""
        self._followers.pop(subscription, None)
        subscription.end(Gone())

    async def stop(self) -> None:
        """End every subscription, each told when to come back."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for subscription in list(self._followers):
            self._end_one(subscription, _stopping())
        self._looks.clear()
        await cancel(*self._running)

    def _admit(self, plan: Plan) -> None:
        if self._is_stopping:
            raise _stopping()
        if (refusal := self._refusal(plan)) is not None:
            raise refusal
        if len(self._followers) + self._coming >= self.limits.subscriptions_max:
            raise Overloaded(f"{len(self._followers)} subscriptions are open already", retry_after_s=BACK_S)
        if self._cache.entries.held_bytes >= self.limits.bytes_max:
            raise Overloaded("the answers that are followed take all of live.bytes_max", retry_after_s=BACK_S)

    def _refusal(self, plan: Plan, key: Key | None = None) -> Error | None:
        """Why the answer of *plan*, under *key* where it has one, cannot be followed; None where nothing is known to
        speak against that."""
        if why := why_not_live(plan, self._cache):
            return Unimplemented(f"{plan.operation.name} is not live: {why}")
        query = self._cache.queries[plan.operation.name]
        if key is not None and key in query.unfit:
            return Unimplemented(f"{plan.operation.name} is not live for these inputs: {query.unfit[key]}")
        if not self._cache.is_on or query.is_blind:
            # Somebody has taken triggers down, say: it is live again when they are back, for which the cache looks.
            why = query.why_not if self._cache.is_on else self._cache.why_off
            return Unavailable(f"{plan.operation.name} is not live now: {why}", retry_after_s=LATER_S)
        return None

    def _topic(self, plan: Plan, arguments: Arguments, key: Key) -> Topic:
        topic = self._topics.get(key)
        if topic is None:
            topic = Topic(plan, arguments, key, self._cache.runner, on_stale=self._want, on_left=self._left)
            self._topics[key] = topic
        return topic

    def _left(self, topic: Topic) -> None:
        if self._topics.get(topic.key) is topic:
            del self._topics[topic.key]

    # Runs.

    def _want(self, topic: Topic) -> None:
        self._stale.append(topic)
        self._pump()

    def _pump(self) -> None:
        while self._stale and len(self._running) < self._at_once and not self._is_stopping:
            topic = self._stale.popleft()
            if not topic.is_closed:
                # Not in the call that made it stale: it is nobody's part.
                loop = asyncio.get_running_loop()
                task = loop.create_task(self._run(topic), context=Variables())
                self._running.add(task)
                task.add_done_callback(self._ran)

    def _ran(self, task: Task[None]) -> None:
        self._running.discard(task)
        self._pump()

    async def _run(self, topic: Topic) -> None:
        """Find out the answer of *topic*, and have its followers told."""
        leader = next((each for each in list(topic.followers) if self._stands(each)), None)
        if leader is None:
            return
        number = topic.begin()
        self.runs += 1
        context = Context.within(topic.plan.operation.name, topic.plan.deadline_s, leader.principal)
        context.takes_kept, context.freshness, context.priority = True, STRICT, Priority.SHEDDABLE
        try:
            answer = await topic.plan.call(context, copy.deepcopy(topic.arguments))
        except Exception as error:
            self._failed(topic, error)
            return
        if not isinstance(answer, KeptAnswer):
            # While it is found out whose changes are told, nobody is sent away.
            refusal = self._refusal(topic.plan, topic.key) if self._cache.is_settled else None
            if refusal is None:
                self._failed(topic, _unsure())
            else:
                self._end(topic, refusal)
            return
        if topic.is_closed:
            return
        if context.cache_key != topic.key:
            self._scatter(topic)
            return
        await self._tell(topic, answer, number, is_other=topic.found(answer))
        if len(self._stale) > SPLAY_ABOVE:
            await self._give_way(SPLAY_S)
        topic.end()

    async def _tell(self, topic: Topic, answer: KeptAnswer, number: int, *, is_other: bool) -> None:
        if self._cache.entries.held_bytes >= self.limits.bytes_max * 2:
            # It has grown since its followers were let in.
            self._end(topic, Overloaded("the answers that are followed take too much memory", retry_after_s=BACK_S))
            return
        for count, follower in enumerate(list(topic.followers), 1):
            # Who came meanwhile waits for a run that began after that.
            if number > follower.after and (is_other or not follower.is_told) and self._stands(follower):
                self.states += 1
                follower.offer(answer)
            if count % SLICE == 0:
                await self._give_way()

    async def _give_way(self, seconds: float = 0.0) -> None:
        """Let others have their turn: where `tests/cache/test_live_order.py` decides who goes on."""
        await asyncio.sleep(seconds)

    def _failed(self, topic: Topic, error: Exception) -> None:
        """A run brought no answer: an error of its own is one, and ends what follows it; what befell the run alone is
        tried again."""
        if not isinstance(error, Error):
            log.error("%s failed while it was followed", topic.plan.operation.name, exc_info=error)
            self._end(topic, Internal())
            return
        if not is_passing(error):
            self._end(topic, error)
            return
        topic.failures += 1
        wait_s = min(RETRY_S * 2 ** min(topic.failures, 10), RETRY_MAX_S)
        if topic.failures * wait_s > LOST_S:
            self._end(topic, error)
            return
        asyncio.get_running_loop().call_later(wait_s, self._want, topic)

    def _scatter(self, topic: Topic) -> None:
        """The query has asked something about its caller that the key does not tell: its followers' answers may differ
        from now on, so each follows the one of his own key."""
        followers = list(topic.followers)
        topic.close()
        query = self._cache.queries[topic.plan.operation.name]
        for follower in followers:
            context = Context.within(topic.plan.operation.name, 0, follower.principal)
            key = query.key_of(context, topic.arguments)
            if key is None:
                self._end_one(follower, Unavailable("it cannot be followed any more", retry_after_s=BACK_S))
            else:
                self._topic(topic.plan, topic.arguments, key).join(follower, None)

    def _end(self, topic: Topic, error: Exception) -> None:
        for follower in list(topic.followers):
            self._end_one(follower, error)

    def _end_one(self, follower: Subscription, error: Exception) -> None:
        follower.end(error)
        self._forget(follower)

    def _forget(self, follower: Subscription) -> None:
        """It has ended, for a reason that is counted unless its client had left."""
        error = follower.error
        if follower in self._followers and not isinstance(error, CallerLeft):
            self.ended[error.code if isinstance(error, Error) else Internal.code] += 1
        self._followers.pop(follower, None)

    # Who may go on.

    def _stands(self, follower: Subscription) -> bool:
        is_standing = follower.look(monotonic(), self.limits.lag_s)
        if not is_standing:
            self._forget(follower)
        return is_standing

    def _begin_tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = monotonic()
        while self._looks and self._looks[0][0] <= now:
            _, follower = self._looks.popleft()
            if follower in self._followers and self._stands(follower):
                self._looks.append((now + CHECK_S, follower))
        lost_since = self._cache.runner.lost_since
        if lost_since is not None and now - lost_since > LOST_S:
            for topic in list(self._topics.values()):
                self._end(topic, Unavailable("nobody can say what has changed", retry_after_s=BACK_S))
        if self._looks and not self._is_stopping:
            self._begin_tick()


TRANSIENT = frozenset({"deadline_exceeded", "conflict", "in_progress"})


def is_passing(error: Error) -> bool:
    """Whether it befell one run alone, and is no answer."""
    return type(error) in (Overloaded, Unavailable) or error.code in TRANSIENT


class Gone(Exception):
    """The follower has gone by himself."""


class _Remembered:
    """Arguments that are handed to a call, and copied before it may change them."""

    def __init__(self, arguments: Any) -> None:
        self.values: Arguments = ()
        self._given = arguments
        if isinstance(arguments, Pending):
            self.arguments: Any = Pending(self._read, arguments.sealed)
        else:
            self.values = copy.deepcopy(arguments)
            self.arguments = arguments

    async def _read(self) -> Arguments:
        arguments: Arguments = await self._given.read()
        self.values = copy.deepcopy(arguments)
        return arguments


def _unsure() -> Unavailable:
    return Unavailable("nobody can say what changes now", retry_after_s=BACK_S)


def _stopping() -> Unavailable:
    return Unavailable("the app is stopping", retry_after_s=BACK_S)
