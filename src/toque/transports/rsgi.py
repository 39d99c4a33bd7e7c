"""The app as an RSGI application: the edge that every HTTP request and WebSocket passes first.

granian parses HTTP/1.1 and HTTP/2; what it leaves to the application is done here: which host is meant, what a path
and a method mean, and what may be said while the app is stopping.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from toque.contract.errors import BadRequest, Error, MethodNotAllowed, Misdirected, UnknownOperation
from toque.transports.bodies import skip_rest
from toque.transports.cors import Cors
from toque.transports.replies import Headers, answered, refuse
from toque.transports.rewriting import Headless, ReplyWith
from toque.transports.router import Route, Router

__all__ = ["BYTES", "CLOSE", "ENDING", "STOPPING", "TEXT", "Edge", "HostRule"]

WEBSOCKET_PATH = "/ws"

STOPPING = signal.SIGUSR1
"""Tells a worker that its server is about to stop."""

ENDING = signal.SIGUSR2
"""Tells it, after that, that nobody new comes: what is streamed has the drain time, and is cut off then."""

CLOSE, BYTES, TEXT = 0, 1, 2
"""The kinds of RSGI's WebSocket messages."""

# A name that no stranger can own, and so none can point at this machine (DNS rebinding): an address, or one label.
_PRIVATE_HOST = re.compile(r"\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]|[a-z0-9_-]+|([a-z0-9_-]+\.)+localhost", re.I)


class HostRule:
    """Which hosts the app answers for: those listed, `*` for any, and without a list only private names."""

    REMEMBERED_MAX = 1_000

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self.known: set[str] = set()
        """Hosts that were found to be ours."""

    def check(self, hosts: list[str]) -> None:
        """Raises: BadRequest unless there is exactly one host (RFC 9112, 3.2), Misdirected if it is not ours."""
        if len(hosts) != 1:
            raise BadRequest(f"a request names exactly one host (RFC 9112, 3.2), received {len(hosts)}")
        host = hosts[0]
        if host in self.known:
            return
        if not self._is_ours(host):
            raise Misdirected(f"this app does not answer for {host[:100]!r}; add it to http.hosts")
        if len(self.known) < self.REMEMBERED_MAX:
            self.known.add(host)

    def _is_ours(self, host: str) -> bool:
        name = re.sub(r":\d*$", "", host).lower()
        if self._hosts:
            return name in self._hosts or ("*" in self._hosts and name != "")
        return _PRIVATE_HOST.fullmatch(name) is not None


class Edge:
    """Sends each request to what answers it."""

    def __init__(
        self,
        router: Router,
        hosts: HostRule,
        cors: Cors | None,
        websocket: Callable[[Any, Any], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._router = router
        self._hosts = hosts
        self._cors = cors
        self._websocket = websocket
        self.is_stopping = False
        """Once set, every answer asks its client to use another connection: this one is about to end."""

    def __call__(self, scope: Any, proto: Any) -> Awaitable[None]:
        """Answer one request. Plain, not async: what answers is awaited by the server itself."""
        try:
            headers = scope.headers
            named = headers.get_all("host")
            if scope.authority is not None or len(named) != 1 or named[0] not in self._hosts.known:
                self._hosts.check(_hosts_of(named, scope.authority))
            if scope.proto != "http":
                return self._connect(scope, headers, proto)
            if self.is_stopping or self._cors is not None:
                proto = self._rewriting(scope, headers, proto)
            path = scope.path
            route, segments = self._router.known.get(path) or self._router.match(path)
            endpoint = route.methods.get(scope.method)
            if endpoint is None:
                return self._other_method(scope, headers, proto, route, segments)
            return endpoint(scope, headers, proto, segments)
        except Error as error:
            return _refuse(scope, proto, error)

    def _rewriting(self, scope: Any, headers: Any, proto: Any) -> Any:
        """*proto*, which says with every answer what the answering operation does not know of."""
        extra: Headers = []
        if self.is_stopping and scope.http_version[0] == "1":
            extra.append(("connection", "close"))
        if self._cors is not None:
            extra += self._cors.headers(headers.get("origin"))
        return ReplyWith(proto, extra) if extra else proto

    def _connect(self, scope: Any, headers: Any, proto: Any) -> Awaitable[None]:
        if self._websocket is not None and scope.path == WEBSOCKET_PATH:
            return self._websocket(scope, proto)
        route, segments = self._router.find(scope.path)
        if route.websocket is None:
            raise UnknownOperation(f"no WebSocket answers at {scope.path[:200]}")
        return route.websocket(scope, headers, proto, segments)

    def _other_method(
        self, scope: Any, headers: Any, proto: Any, route: Route, segments: tuple[str, ...]
    ) -> Awaitable[None]:
        method = scope.method
        if method == "HEAD":
            proto = Headless(proto)
        if route.otherwise is not None:
            return route.otherwise(scope, headers, proto, segments)
        if method == "HEAD" and (endpoint := route.methods.get("GET")) is not None:
            return endpoint(scope, headers, proto, segments)
        if method == "OPTIONS":
            asked = headers.get("access-control-request-method")
            extra = self._cors.preflight(scope, route) if self._cors is not None and asked is not None else []
            proto.response_empty(204, [("allow", route.allow), *extra])
            return answered()
        raise MethodNotAllowed(f"expected one of {route.allow}; received {method[:20]}", allow=route.allow)


def _hosts_of(named: list[str], authority: str | None) -> list[str]:
    """The hosts that a request names: in its Host, and in its target, where that has one (HTTP/2, and the absolute
    form of RFC 9112, 3.2.2). One that both name alike is one."""
    if authority is None or named == [authority]:
        return named
    return [authority, *named]


def _refuse(scope: Any, proto: Any, error: Error) -> Awaitable[None]:
    if scope.proto == "http":
        return _refuse_request(scope, Headless(proto) if scope.method == "HEAD" else proto, error)
    proto.close(error.problem().status)
    return answered()


async def _refuse_request(scope: Any, proto: Any, error: Error) -> None:
    await skip_rest(scope, scope.headers, proto, error)
    refuse(scope, proto, error, _allow(error))


def _allow(error: Error) -> list[tuple[str, str]]:
    """405 must say what is allowed (RFC 9110, 15.5.6)."""
    return [("allow", error.extra["allow"])] if isinstance(error, MethodNotAllowed) else []
