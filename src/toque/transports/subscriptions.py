"""Live queries over a WebSocket: `subscribe` and `unsubscribe`, and what is sent in between.

- `subscribe` takes `{"operation": "shop.list_orders", "params": {...}, "etag": "..."}` and answers with a number:
  `{"subscription": 1}`. With the `etag` of a state that the client has, an equal one is not sent.
- Each state comes as a notification `subscription` with `{"subscription": 1, "result": ..., "etag": "..."}`.
- One that ends has `"error"` in the place of the result, and is the last.

A client that reads slowly is sent the newest state of each subscription, when it has taken what was sent before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec

from toque.cache.kept import KeptAnswer
from toque.cache.live import Live
from toque.cache.subscription import Subscription
from toque.cache.tags import Encoded, encoded
from toque.call.context import Context
from toque.call.plan import Plan
from toque.call.receive import given
from toque.contract.errors import Error, Internal, Invalid, Overloaded
from toque.transports.jsonrpc import Failure, JsonRpc, Method

__all__ = ["SUBSCRIBE", "UNSUBSCRIBE", "Subscriptions"]

SUBSCRIBE, UNSUBSCRIBE, SUBSCRIPTION = "subscribe", "unsubscribe", "subscription"

STEP_S = 0.01
"""How often it is looked whether a client who is seen off has taken all."""

Send = Callable[[int, bytes], Awaitable[None]]
"""Sends one message of a kind, and returns when the client has room for the next."""


class _Subscribed(msgspec.Struct):
    subscription: int


class _State(msgspec.Struct):
    subscription: int
    result: msgspec.Raw
    etag: str


class _End(msgspec.Struct):
    subscription: int
    error: Failure


class _Followed:
    """One subscription of a socket."""

    __slots__ = ("id", "jsonrpc", "kind", "knows", "method", "subscription")

    def __init__(self, id: int, kind: int, jsonrpc: JsonRpc, method: Method, knows: str | None) -> None:
        self.id = id
        self.kind = kind
        self.jsonrpc = jsonrpc
        self.method = method
        self.knows = knows
        """The state that the client had when it came; None once it was sent one."""
        self.subscription: Subscription | None = None
        """None until the client was told its number."""

    def message(self) -> bytes | None:
        """What is to be sent now; None where that is nothing. Raises: what the subscription ended with."""
        state = None if self.subscription is None else self.subscription.take()
        if state is None:
            return None
        found = self._encoded(state)
        knows, self.knows = self.knows, None
        if found.etag == knows:
            return None
        return self.jsonrpc.notification(SUBSCRIPTION, _State(self.id, msgspec.Raw(found.body), found.etag))

    def last(self, error: Exception) -> bytes:
        found = error if isinstance(error, Error) else Internal()
        return self.jsonrpc.notification(SUBSCRIPTION, _End(self.id, self.jsonrpc.failure(found)))

    def _encoded(self, state: KeptAnswer) -> Encoded:
        # Once for all who follow it.
        key = (SUBSCRIPTION, self.kind)
        found: Encoded | None = state.form(key)
        if found is None:
            found = encoded(self.method.encode(state.value()))
            state.add_form(key, found, found.weight)
        return found


class Subscriptions:
    """All subscriptions of one socket. It has no task until there is one."""

    def __init__(self, live: Live, send: Send, context_of: Callable[[Plan], Context]) -> None:
        self._live = live
        self._send = send
        self._context_of = context_of
        self._ids = count(1)
        self._all: dict[int, _Followed] = {}
        self._news: dict[int, _Followed] = {}
        """Those that have something to say; each once, however much happened."""
        self._has_news = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False

    async def subscribe(self, kind: int, jsonrpc: JsonRpc, params: Any, fresh: list[int]) -> _Subscribed:
        """Follow a query. Its number goes to *fresh*; nothing of it is sent before that is given to `begin`."""
        name, inputs, knows = _read(params)
        limit = self._live.limits.connection_subscriptions_max
        if len(self._all) >= limit:
            raise Overloaded(f"a socket has {limit} subscriptions at most (live.connection_subscriptions_max)")
        method = jsonrpc.method(name)
        followed = _Followed(next(self._ids), kind, jsonrpc, method, knows)
        self._all[followed.id] = followed
        try:
            plan = method.plan
            arguments = given(plan, lambda: method.arguments(inputs))
            subscription = await self._live.subscribe(
                plan, self._context_of(plan), arguments, lambda: self._is_news(followed)
            )
        except BaseException:
            self._all.pop(followed.id, None)
            raise
        if self._is_closed:
            self._live.leave(subscription)
        followed.subscription = subscription
        fresh.append(followed.id)
        return _Subscribed(followed.id)

    def unsubscribe(self, params: Any) -> bool:
        """End the subscription of the number in *params*: whether there was one. Nothing of it is sent after that."""
        number = params.get(SUBSCRIPTION) if isinstance(params, dict) and len(params) == 1 else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise Invalid(f'{UNSUBSCRIBE} takes {{"subscription": 1}}, the number that {SUBSCRIBE} has answered')
        followed = self._all.get(number)
        # One that is still on its way was not told its number: whoever has guessed that ends nothing.
        if followed is None or followed.subscription is None:
            return False
        del self._all[number]
        self._news.pop(number, None)
        self._live.leave(followed.subscription)
        return True

    def begin(self, fresh: list[int]) -> None:
        """The client was told the numbers in *fresh*."""
        for number in fresh:
            if (followed := self._all.get(number)) is not None:
                self._news[number] = followed
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_news())
        self._has_news.set()

    async def stop(self, grace_s: float = 0.0) -> None:
        """End all, after so many seconds at most in which the client takes what there is to say."""
        self._is_closed = True
        if self._sending is not None:
            deadline = asyncio.get_running_loop().time() + grace_s
            while self._news and not self._sending.done() and asyncio.get_running_loop().time() < deadline:
                await asyncio.wait([self._sending], timeout=STEP_S)
            self._sending.cancel()
            await asyncio.wait([self._sending])
        for followed in self._all.values():
            if followed.subscription is not None:
                self._live.leave(followed.subscription)
        self._all.clear()
        self._news.clear()

    def _is_news(self, followed: _Followed) -> None:
        # Before its number was told, `begin` will ask.
        if followed.subscription is not None and followed.id in self._all:
            self._news[followed.id] = followed
            self._has_news.set()

    async def _send_news(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._news:
                number = next(iter(self._news))
                followed = self._news[number]
                try:
                    message = followed.message()
                except Exception as error:
                    message = followed.last(error)
                    self._all.pop(number, None)
                self._news.pop(number, None)
                if message is not None:
                    await self._send(followed.kind, message)


def _read(params: Any) -> tuple[str, Any, str | None]:
    """The operation, its params, and the tag of the state that the client has. Raises: Invalid."""
    is_known = isinstance(params, dict) and params.keys() <= {"operation", "params", "etag"}
    name = params.get("operation") if is_known else None
    inputs, knows = (params.get("params", {}), params.get("etag")) if is_known else (None, None)
    if not isinstance(name, str) or not isinstance(inputs, dict | list) or not isinstance(knows, str | None):
        raise Invalid(
            f'{SUBSCRIBE} takes {{"operation": "...", "params": {{...}}, "etag": "..."}}; only the first is needed'
        )
    return name, inputs, knows
