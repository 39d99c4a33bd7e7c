"""JSON-RPC over one WebSocket (RFC 6455): text frames carry it in JSON, binary frames in MessagePack.

Many calls run at once on a socket, and each is answered as soon as it is done. A socket on which nothing
happens waits for its next message and for nothing else: it has no timer.

A browser cannot set `Authorization` on a handshake. The usual way around it, the token as a subprotocol, is
not open to us: a browser drops the connection unless the server confirms a subprotocol (WHATWG WebSockets,
"establish a WebSocket connection"), and granian's `accept()` cannot. So a client without the header calls
`toque.authenticate` with `{"token": ...}` first. It may call it again when the token is about to end: it
holds for the messages after it. The token itself is verified by every call's own plan, over this transport as
over any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from toque.cache.live import Live
from toque.call.context import Context, Mark
from toque.call.plan import Plan
from toque.contract.errors import Error, Forbidden, Invalid, TooLarge, Unavailable
from toque.transports.bodies import BodyLimits
from toque.transports.jsonrpc import JsonRpc, OwnMethods
from toque.transports.rsgi import BYTES, CLOSE, TEXT
from toque.transports.subscriptions import SUBSCRIBE, UNSUBSCRIBE, Subscriptions

__all__ = ["AUTHENTICATE", "WebSockets"]

AUTHENTICATE = "toque.authenticate"

IN_FLIGHT_MAX = 64
"""Messages of one socket that are answered at once; the next is not read before one of them is done. RFC 9113
(6.5.2) recommends 100 or more for the calls of one HTTP/2 connection; it is less here because a message may
be a batch."""

FAREWELL_S = 0.5
"""How long a client may take to hear that its subscriptions end, when the server stops."""

# RFC 6455, 7.4.1. granian closes without a code, so what the client must know is also sent as an answer.
NORMAL, GOING_AWAY, TOO_BIG = 1000, 1001, 1009


class _Shared(Struct, frozen=True):
    """What all sockets have in common."""

    text: JsonRpc
    binary: JsonRpc
    limits: BodyLimits
    live: Live | None


class WebSockets:
    """Every open socket of one worker.

    Args:
        text, binary: the same operations in JSON and in MessagePack.
        limits: the size of one message, and how long a client may take to receive one answer.
        origins: web origins that may connect besides our own: `https://shop.example`, or `*` for any.
        live: who follows queries; None where nothing is kept in memory.
    """

    def __init__(
        self,
        text: JsonRpc,
        binary: JsonRpc,
        limits: BodyLimits,
        origins: Sequence[str] = (),
        live: Live | None = None,
    ) -> None:
        self._shared = _Shared(text, binary, limits, live)
        self._origins = frozenset(origins)
        self._open: dict[_Socket, asyncio.Event] = {}
        self._is_stopping = False

    async def __call__(self, scope: Any, proto: Any) -> None:
        """Serve one socket until either side ends it."""
        try:
            self._admit(scope)
        except Error as error:
            proto.close(error.problem().status)
            return
        socket = _Socket(self._shared, await proto.accept(), scope.headers.get("authorization"))
        closed = self._open[socket] = asyncio.Event()
        try:
            proto.close(await socket.serve())
        finally:
            del self._open[socket]
            closed.set()

    async def stop(self, grace_s: float) -> None:
        """Read no more, let running calls end for *grace_s* seconds, then close every socket."""
        self._is_stopping = True
        waiting = list(self._open.values())
        for socket in self._open:
            socket.stop(grace_s)
        for closed in waiting:
            await closed.wait()

    def _admit(self, scope: Any) -> None:
        """Refuse a handshake that another site's page began, or that comes too late.

        Browsers let any page connect to any host and send its cookies along, but they say which page it is.
        Only the hosts are compared, because behind a proxy that ends TLS the scheme seen here is not the
        caller's.

        Raises: Forbidden, Unavailable.
        """
        if self._is_stopping:
            raise Unavailable("the app is stopping")
        if "origin" not in scope.headers or "*" in self._origins:
            return
        # Of several nobody knows which one counts; and granian hands out none that is not ASCII.
        named = scope.headers.get_all("origin")
        origin = named[0] if len(named) == 1 else ""
        if origin in self._origins:
            return
        host = scope.headers.get("host") or scope.authority or ""
        if not (page_host := _host_of(origin)) or page_host.lower() != host.lower():
            raise Forbidden(f"pages of {origin[:100] or 'no one origin'} may not connect; add it to http.cors_origins")


def _host_of(origin: str) -> str:
    """The host and port of a web origin; empty where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


class _Socket:
    """One open socket: a task that reads, and a task for each message that is being answered."""

    def __init__(self, shared: _Shared, transport: Any, credential: str | None) -> None:
        self._shared = shared
        self._transport: Any = transport
        self._credential = credential
        self._mark = Mark()
        live = shared.live
        self._following = None if live is None else Subscriptions(live, self._send, self._context)
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._answering: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())
        self._grace_s: float | None = None

    async def serve(self) -> int:
        """Answer messages until the client leaves or breaks the rules, or `stop`; returns the close code."""
        try:
            await asyncio.wait([self._reading])
            if self._grace_s is not None and self._answering:
                await asyncio.wait(self._answering, timeout=self._grace_s)
            if self._grace_s is not None and self._following is not None:
                await self._following.stop(FAREWELL_S)
        finally:
            if self._following is not None:
                await self._following.stop()
            unfinished = [self._reading, *self._answering]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            # granian ends the connection when nobody holds the transport any more, not before.
            self._transport = None
        return GOING_AWAY if self._reading.cancelled() else self._reading.result()

    def stop(self, grace_s: float) -> None:
        """Read no more; what is being answered gets *grace_s* seconds."""
        self._grace_s = grace_s
        self._reading.cancel()

    async def _read(self) -> int:
        """Take each message as soon as there is room for it; returns the close code."""
        limit = self._shared.limits.bytes_max
        while True:
            await self._room.acquire()
            kind, payload = await self._receive()
            if kind == CLOSE:
                return NORMAL
            jsonrpc = self._shared.text if kind == TEXT else self._shared.binary
            if len(payload) > limit:
                await self._send(kind, jsonrpc.refusal(TooLarge(f"the message is larger than {limit} bytes")))
                return TOO_BIG
            answering = asyncio.create_task(self._answer(kind, jsonrpc, payload))
            self._answering.add(answering)
            answering.add_done_callback(self._answered)

    async def _receive(self) -> tuple[int, bytes]:
        """The next message: its kind and its bytes. A connection that broke counts as closed."""
        try:
            message = await self._transport.receive()
        except Exception:
            # Each server has its own error for a connection that broke; all mean that nothing more will come.
            return CLOSE, b""
        if message.kind == CLOSE:
            return CLOSE, b""
        return message.kind, message.data.encode() if message.kind == TEXT else message.data

    async def _answer(self, kind: int, jsonrpc: JsonRpc, payload: bytes) -> None:
        fresh: list[int] = []
        answer = await jsonrpc.answer(payload, self._context, self._own(kind, jsonrpc, fresh))
        if answer is not None:
            await self._send(kind, answer)
        if fresh and self._following is not None:
            self._following.begin(fresh)

    def _own(self, kind: int, jsonrpc: JsonRpc, fresh: list[int]) -> OwnMethods:
        """The methods of the connection, for one message; subscriptions that it makes go to *fresh*."""
        own: dict[str, Callable[[Any], Any]] = {AUTHENTICATE: self._authenticate}
        if (following := self._following) is not None:
            own[SUBSCRIBE] = lambda params: following.subscribe(kind, jsonrpc, params, fresh)
            own[UNSUBSCRIBE] = following.unsubscribe
        return own

    def _answered(self, answering: asyncio.Task[None]) -> None:
        self._answering.discard(answering)
        self._room.release()

    async def _send(self, kind: int, data: bytes) -> None:
        """Send one answer. A client that has left, or that takes nothing, ends the socket."""
        send = self._transport.send_bytes(data) if kind == BYTES else self._transport.send_str(data.decode())
        try:
            async with asyncio.timeout(self._shared.limits.seconds_max):
                await send
        except Exception:
            # Each server has its own error for a client that is gone; all mean that nobody will read this.
            self._reading.cancel()

    def _context(self, plan: Plan) -> Context:
        return Context(
            plan.operation.name,
            deadline=monotonic() + plan.deadline_s,
            credential=self._credential if plan.reads_credential else None,
            mark=self._mark if plan.carries_mark else None,
        )

    def _authenticate(self, params: Any) -> bool:
        """Show a token with all messages from now on. True says that it was taken, not that it is good."""
        token = params.get("token") if isinstance(params, dict) else None
        if not isinstance(token, str) or len(params) != 1:
            raise Invalid(f'{AUTHENTICATE} takes {{"token": "..."}}')
        self._credential = f"Bearer {token}"
        return True
