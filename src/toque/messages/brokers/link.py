"""A connection that is rebuilt when it is lost, and calls on it that cannot hang."""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from toque.contract.errors import Error, Unavailable
from toque.messages.brokers.broker import LATE_S, Refused

__all__ = ["Link", "Lost", "bounded"]

C = TypeVar("C")
T = TypeVar("T")

log = logging.getLogger("toque.brokers")

CONNECT_TIMEOUT_S = 5.0
"""Half of a call's usual deadline: a second try still fits."""

PAUSE_S = 0.1
PAUSE_MAX_S = 5.0
"""Longest pause between two tries. A broker that has come back waits no longer than that for its clients, and those of
a hundred processes knock twenty times a second."""

LASTING_S = 2 * PAUSE_MAX_S
"""A connection that was lost sooner is a try that failed. Of two that throw each other out, one lasts as long as the
other one pauses."""

CLOSE_TIMEOUT_S = 2.0
"""A lost connection deserves no more patience; its socket goes with it."""


class Lost(Protocol):
    """Told that a connection is lost, and why where that is known."""

    def __call__(self, why: str = ...) -> None: ...


class Link(Generic[C]):
    """Keeps one connection open and runs calls on it, each within its deadline.

    Args:
        name: whose connection it is, for people.
        connect: opens one; it is given a function to call when that one is lost.
        disconnect: ends one, also one that is broken.
        failures: the exceptions of the driver that mean the connection is of no use any more.
        refusals: those among them that are a server's answer: another connection would get the same.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[Lost], Awaitable[C]],
        disconnect: Callable[[C], Awaitable[None]],
        failures: tuple[type[Exception], ...],
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self.name = name
        self._connect = connect
        self._disconnect = disconnect
        self._failures: tuple[type[Exception], ...] = (OSError, TimeoutError, Unavailable, *failures)
        self._refusals = refusals
        self._current: C | None = None
        self._settled = asyncio.Event()
        self._gone: asyncio.Future[None] | None = None
        self._refusal: Refused | None = None
        self._last_failure = "it has not been tried"
        self._answered_at = 0.0
        self._calls = 0
        self._ends: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self, timeout_s: float) -> None:
        """Open the connection; where that fails, nothing is left of it, and it may be tried again.

        Raises: Refused, Unavailable.
        """
        if self._keeper is None:
            # Whatever was said to the try before is not the answer to this one.
            self._is_closing, self._refusal = False, None
            self._settled.clear()
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"link {self.name}")
        try:
            await self.get(timeout_s)
        except Error:
            await self.close(0)
            raise

    async def get(self, timeout_s: float) -> C:
        """The connection as it is now, once there is one. Raises: Refused, Unavailable."""
        if self._keeper is None or self._is_closing:
            raise Unavailable(f"{self.name} is not connected; it was {'closed' if self._is_closing else 'not opened'}.")
        if self._current is None:
            await self._arrival(timeout_s)
        if self._current is None:
            raise self._refusal or Unavailable(f"{self.name} cannot be reached: {self._last_failure}", retry_after_s=1)
        return self._current

    async def _arrival(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(timeout_s, 0)):
                await self._settled.wait()

    async def call(
        self, act: Callable[[C], Coroutine[Any, Any, T]], timeout_s: float, doing: str, *, is_proof: bool = True
    ) -> T:
        """Run *act* on the connection. Raises: Unavailable when it fails, or is not done in time.

        Args:
            is_proof: whether the server must have answered when it succeeds.
        """
        until = monotonic() + timeout_s
        connection = await self.get(timeout_s)
        self._calls += 1
        try:
            result = await bounded(act(connection), until - monotonic(), self._gone)
        except Error:
            raise
        except self._failures as error:
            # A server that is slow must not be left for being slow: the next connection would be no faster.
            is_slow = isinstance(error, Late) and monotonic() - self._answered_at < LATE_S
            if not is_slow and not isinstance(error, self._refusals):
                self.lose(connection, _told(error))
            raise Unavailable(f"{self.name} failed {doing}: {_told(error)}", retry_after_s=1) from error
        finally:
            self._calls -= 1
        if is_proof:
            self._answered_at = monotonic()
        return result

    def lose(self, connection: C, why: str) -> None:
        """Use *connection* no more, and open another one."""
        if self._current is connection:
            self._last_failure = why
            self._forget()
            self._let_go()

    def _forget(self) -> None:
        self._current = None
        if self._refusal is None:
            self._settled.clear()

    def _let_go(self) -> None:
        """Tell the keeper and the calls that run that the connection is of no use."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    async def close(self, timeout_s: float) -> None:
        """Take no more calls, wait for those that run, and disconnect."""
        self._is_closing = True
        until = monotonic() + timeout_s
        while self._calls and monotonic() < until and self._current is not None:  # noqa: ASYNC110 - it ends soon
            await asyncio.sleep(0.01)
        if self._keeper is not None:
            self._keeper.cancel()
            self._let_go()
            await asyncio.gather(self._keeper, return_exceptions=True)
            await asyncio.gather(*self._ends)
            self._keeper = None

    async def _keep(self) -> None:
        pause_s = PAUSE_S
        while True:
            connection = await self._open()
            if connection is not None and await self._lasts(connection, is_news=pause_s == PAUSE_S):
                pause_s = PAUSE_S
                continue
            # Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS 2015): clients do not come in step.
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _lasts(self, connection: C, *, is_news: bool) -> bool:
        """Wait until *connection* is lost: whether it had lasted."""
        began = monotonic()
        try:
            assert self._gone is not None
            await asyncio.shield(self._gone)
            # One that is lost as soon as it is there is told of once.
            level = logging.WARNING if is_news else logging.INFO
            log.log(level, "%s is lost: %s; connecting again", self.name, self._last_failure)
        finally:
            self._forget()
            self._ends.add(end := asyncio.get_running_loop().create_task(self._end(connection)))
            end.add_done_callback(self._ends.discard)
        return monotonic() - began >= LASTING_S

    async def _open(self) -> C | None:
        """A new connection for everybody, or none."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone = gone
        connection: C | None = None

        def lose(why: str = "it was closed by the other side") -> None:
            if not gone.done():
                self._last_failure = why
                gone.set_result(None)
            if self._gone is gone:
                self._forget()

        self._refusal = None
        self._settled.clear()
        try:
            connection = await bounded(self._connect(lose), CONNECT_TIMEOUT_S)
        except Refused as error:
            self._refusal = error
            self._last_failure = str(error)
        except self._failures as error:
            self._last_failure = _told(error)
            log.debug("%s cannot be reached: %s", self.name, self._last_failure)
            return None
        except Exception as error:
            # A driver fails in ways of its own; whoever keeps the connection must not end by one.
            self._last_failure = _told(error)
            log.exception("%s cannot be reached", self.name)
            return None
        else:
            self._answered_at = monotonic()
            if gone.done():
                return connection
            self._current = connection
        self._settled.set()
        return connection

    async def _end(self, connection: C) -> None:
        try:
            await bounded(self._disconnect(connection), CLOSE_TIMEOUT_S)
        except Exception as error:  # Drivers fail in many ways while they end what is broken, and it has ended anyway.
            log.debug("%s did not end well: %s", self.name, _told(error))


class Late(TimeoutError):
    """There was no answer in time."""


async def bounded(work: Awaitable[T], timeout_s: float, gone: asyncio.Future[None] | None = None) -> T:
    """The result of *work*, or Late after *timeout_s*, or ConnectionError once *gone* is done.

    Whatever *work* does about it: `asyncio.timeout` waits until what it cancels has ended, and drivers of brokers are
    known to hang there, or to wait for an answer from a connection that is lost (aio-pika#636, #231).
    """
    task = asyncio.ensure_future(work)
    try:
        watched: set[asyncio.Future[Any]] = {task} if gone is None else {task, gone}
        await asyncio.wait(watched, timeout=max(timeout_s, 0), return_when=FIRST_COMPLETED)
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if task.done():
        return task.result()
    _abandon(task)
    if gone is not None and gone.done():
        raise ConnectionError("the connection was lost before the answer")
    raise Late(f"no answer within {timeout_s:.1f} s")


def _abandon(task: asyncio.Future[Any]) -> None:
    task.cancel()
    # Asked for its outcome, so that nobody hears of it.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
