"""A real HTTP server of few lines, which answers whatever a test wants: bytes on a socket, right or wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None = None


Answering = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole, honest answer; `retry_after="3"` is its header Retry-After."""
    head = {"content-length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
    lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


@dataclass
class Receiver:
    """Answers with the first of `answers`, then with the next; the last one is for all that follow."""

    answers: list[bytes | Answering]
    requests: list[Received] = field(default_factory=list)
    port: int = 0
    host: str = "127.0.0.1"
    connections: int = 0

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        tls = writer.get_extra_info("ssl_object")
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                received = Received(method, path, headers, body, getattr(tls, "asked_for", None))
                self.requests.append(received)
                reply = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(reply, bytes):
                    writer.write(reply)
                else:
                    await reply(received, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(
    *answers: bytes | Answering, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that listens on a free port of *host*."""
    receiver = Receiver(list(answers) or [answer()], host=host)
    server = await asyncio.start_server(receiver.serve, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None


async def drops(_: Received, writer: asyncio.StreamWriter) -> None:
    """The connection ends without a word."""
    writer.transport.abort()


async def keeps_silent(_: Received, __: asyncio.StreamWriter) -> None:
    """Nothing ever comes."""
    await asyncio.sleep(3600)


async def never_ends(_: Received, writer: asyncio.StreamWriter) -> None:
    """A body without an end, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def trickles(_: Received, writer: asyncio.StreamWriter) -> None:
    """A byte now and then: no single wait is long."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def says_more_than_it_has(_: Received, writer: asyncio.StreamWriter) -> None:
    """A length that the body does not have."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
    await writer.drain()
    writer.close()


async def has_more_than_it_says(_: Received, writer: asyncio.StreamWriter) -> None:
    """More than its length."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and much more")
    await writer.drain()
    writer.close()


async def speaks_no_http(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()
