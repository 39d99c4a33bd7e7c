"""HTTP/1.1 over connections to checked addresses; the only file that knows httpcore.

httpcore asks its network backend for a connection to a name, and wraps it in TLS for that name. Ours looks the name up,
checks every address, and dials one that was checked: `Host`, SNI and the certificate are the name's all the same.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpcore2 as httpcore

from toque.http_client.allowance import Allowance
from toque.http_client.failures import BadAnswer, Interrupted, Unreachable
from toque.http_client.resolving import Resolver, checked_addresses
from toque.http_client.target import Target

__all__ = ["Answer", "Wire"]

KEPT_S = 15.0
"""How long an idle connection is kept. nginx and most balancers close theirs after 60 to 75 s, some after 20; who keeps
one longer than the other side finds out by a request that fails."""

CONNECT_S = 5.0
"""Longest time that one address gets: Linux sends SYN again after 1 and 3 s, and that is what a lost packet takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case; what came more than once is joined with commas (RFC 9110, 5.3)."""
    body: bytes


class Wire:
    """Connections to others, kept for the next request."""

    def __init__(
        self, resolver: Resolver, allowance: Allowance, *, connections_max: int, ca_file: Path | None = None
    ) -> None:
        context = httpcore.default_ssl_context()
        if ca_file is not None:
            context = ssl.create_default_context(cafile=ca_file)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections_max,
            keepalive_expiry=KEPT_S,
            network_backend=_Dialler(resolver, allowance),
        )

    async def exchange(
        self,
        method: str,
        target: Target,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        bytes_max: int,
        is_cut: bool = False,
    ) -> Answer:
        """Send one request, and read its answer.

        Args:
            bytes_max: the largest body of the answer. One that is larger is refused or, with *is_cut*, not read on.
        Raises: AddressRefused, Unreachable, Interrupted, BadAnswer; ValueError for a header that cannot be sent.
        """
        url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.resource.encode(),
        )
        sent = [(b"Host", target.authority.encode()), *((name.encode(), _line(value)) for name, value in headers)]
        if body or method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            sent.append((b"Content-Length", str(len(body)).encode()))
        with _translated():
            async with self._pool.stream(method, url, headers=sent, content=body) as response:
                received = _received(response.headers)
                if not is_cut and received.get("content-length", "").isdigit():
                    _check_length(int(received["content-length"]), bytes_max, response.status)
                chunks = response.aiter_stream()
                content = await _read(chunks, bytes_max, response.status, is_cut)
                return Answer(response.status, received, content)

    async def close(self) -> None:
        await self._pool.aclose()


class _Dialler(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, never to a name."""

    def __init__(self, resolver: Resolver, allowance: Allowance) -> None:
        self._resolver = resolver
        self._allowance = allowance
        # Without anyio it is another class of the same name, which pyright sees too.
        self._sockets = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        addresses = await checked_addresses(host, port, self._resolver, self._allowance)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(str(address), port, timeout=CONNECT_S)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise Unreachable(f"{host}: none of its {len(addresses)} addresses takes a connection") from failure

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("a URL names no socket of this machine")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    except httpcore.LocalProtocolError as error:
        raise ValueError(f"the request cannot be sent: {error}") from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
        raise Interrupted(str(error) or type(error).__name__) from error


async def _read(chunks: AsyncIterator[bytes], bytes_max: int, status: int, is_cut: bool) -> bytes:
    content = bytearray()
    async with aclosing(chunks):  # type: ignore[type-var]
        async for chunk in chunks:
            content += chunk
            if len(content) > bytes_max and is_cut:
                break
            _check_length(len(content), bytes_max, status)
    return bytes(content[:bytes_max])


def _check_length(length: int, bytes_max: int, status: int) -> None:
    if length > bytes_max:
        raise BadAnswer(f"its body is larger than {bytes_max} bytes", status)


def _received(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _line(value: str) -> bytes:
    """A header's value; h11 refuses what would end its line."""
    return value.encode("latin-1", "strict")
