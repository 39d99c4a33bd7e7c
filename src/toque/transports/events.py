"""Live queries over HTTP: the answer at a query's own URL as server-sent events, now and again whenever it changes.

Each event's id is the entity tag of its data. A client that comes back says which it has seen last, and is not sent an
equal state.
Source: HTML, 9.2 "Server-sent events" (html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import uniform
from typing import Any, NamedTuple

from toque.cache.kept import KeptAnswer
from toque.cache.live import Live, is_passing
from toque.cache.subscription import Subscription
from toque.cache.tags import tag
from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.call.plan import Plan
from toque.call.tasks import awaited
from toque.codecs.codec import CODECS
from toque.contract.errors import Error, Internal, Problem
from toque.transports.conditions import precondition
from toque.transports.replies import EVENTS, LIVE
from toque.transports.stalling import Spent, open_events

__all__ = ["Events"]

HEARTBEAT_S = 15.0
"""How often a client hears that it is still connected: what HTML, 9.2.7 advises, for proxies end what is silent."""

SPREAD = (1.0, 3.0)
"""How much longer than the least time a client waits until it comes back, chosen anew for each, so that not all come at
once."""

HEARTBEAT = b":\n\n"

_encode_problem: Any = CODECS["json"].encoder(Problem)


class _Frame(NamedTuple):
    """A state as an event."""

    etag: str
    data: bytes


class Events:
    """What answers those who follow one query."""

    def __init__(self, live: Live, plan: Plan) -> None:
        self._live = live
        self._plan = plan
        encode = CODECS["json"].encoder(plan.signature.output)
        assert encode is not None, "JSON carries every type"
        self._encode: Callable[[Any], bytes] = encode

    async def answer(self, scope: Any, proto: Any, context: Context, arguments: Any) -> None:
        """Answer one request until its client leaves, or may not go on. Raises: what the first call answers with."""
        # One watcher from begin to end: granian wakes one of several only.
        leaving = context.left and asyncio.create_task(awaited(context.left))
        if leaving is not None:
            context.left = lambda: asyncio.shield(leaving)
        subscription: Subscription | None = None
        try:
            try:
                subscription = await self._live.subscribe(self._plan, context, arguments)
            except Error as error:
                if not is_passing(error):
                    raise
                self.put_off(proto, error)
                return
            if scope.method == "HEAD":
                proto.response_empty(200, LIVE.headers)
                return
            if leaving is not None:
                leaving.add_done_callback(lambda _: subscription.end(CallerLeft()))
            await self._send(scope, proto, subscription)
        finally:
            if subscription is not None:
                self._live.leave(subscription)
            if leaving is not None:
                leaving.cancel()

    def put_off(self, proto: Any, error: Error) -> None:
        """Let a client that cannot be let in now come back: to a browser, another status than 200 says that it is to
        give up for good (HTML, 9.2.3 "Processing model"). Of ten thousand that come after a restart, some are shed."""
        proto.response_bytes(200, LIVE.headers, _last(error))

    async def _send(self, scope: Any, proto: Any, subscription: Subscription) -> None:
        stream = open_events(scope, proto, LIVE.headers, self._live.limits.lag_s)
        before = b"retry: %d\n\n" % _retry_ms(1.0)
        knows = scope.headers.get("last-event-id")
        news = partial(self._send_at_once, stream, subscription)
        try:
            await stream.send_bytes(before)
            while True:
                state = await subscription.next(HEARTBEAT_S)
                if state is None:
                    # Though something may have been sent meanwhile: who is woken for each state costs more than this.
                    await stream.send_bytes(HEARTBEAT)
                    continue
                frame = self._frame(state)
                if not _is_known(scope, frame.etag, knows):
                    await stream.send_bytes(frame.data)
                scope = knows = None
                subscription.on_news = news
        except (CallerLeft, Spent):
            pass
        except Exception as error:
            if subscription.has_ended:
                await stream.send_bytes(_last(error))
        finally:
            stream.close()

    def _send_at_once(self, stream: Any, subscription: Subscription) -> None:
        """Send a new state in the very step that offers it, where its client need not be waited for: to wake ten
        thousand tasks takes more than to send what there is to all."""
        state = subscription.offered
        try:
            if state is not None and stream.send_at_once(self._frame(state).data):
                subscription.take()
        except Exception:  # noqa: S110 - not in the step of somebody else: its own task is woken, and fails
            pass

    def _frame(self, state: KeptAnswer) -> _Frame:
        """*state* as an event, encoded once for all who follow it."""
        found: _Frame | None = state.form(EVENTS)
        if found is None:
            body = self._encode(state.value())
            etag = tag(body)
            # JSON has no line ends of its own, so it is one line.
            found = _Frame(etag, b"id: %b\ndata: %b\n\n" % (etag.encode(), body))
            state.add_form(EVENTS, found, len(found.data))
        return found


def _is_known(scope: Any, etag: str, knows: str | None) -> bool:
    """Whether a client that has just come has this state already."""
    if scope is None:
        return False
    return knows == etag or (
        scope.headers.get("if-none-match") is not None and precondition(scope.headers, etag) == 304
    )


def _last(error: Exception) -> bytes:
    """Why a subscription has ended, and when to come back."""
    found = error if isinstance(error, Error) else Internal()
    retry = b"" if found.retry_after_s is None else b"retry: %d\n" % _retry_ms(found.retry_after_s)
    return b"%bevent: end\ndata: %b\n\n" % (retry, _encode_problem(found.problem()))


def _retry_ms(least_s: float) -> int:
    return int(least_s * uniform(*SPREAD) * 1000)  # noqa: S311 - nobody gains by guessing it
