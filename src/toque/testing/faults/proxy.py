"""A proxy between an app and its database or broker, which does to their connections what networks do.

It needs no rights and knows no protocol; a `Finder` tells it where in one a connection shall end. What is encrypted
goes through it like everything else, but nothing is found in it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from toque.testing.faults.postgres_wire import CommitFinder

__all__ = ["Cut", "Finder", "PostgresProxy", "Proxy", "proxy_before"]

Cut = Literal["none", "before", "unanswered", "answered"]
"""Where a connection ends: before what was found goes on to the server, right after it has, or when the server's answer
is here and its client does not have it."""

Finder = Callable[[bytes], bool]
"""Whether what one client sends has come to a point of interest; asked about each piece, in order."""

CHUNK_BYTES = 65536
"""What is forwarded at once: a socket's usual buffer."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: closing sends RST, and drops what is still to be sent (socket(7))."""


class Proxy:
    """Forwards what comes to `port` of 127.0.0.1, until it is told otherwise; what it is told holds at once.

    Args:
        socket_path: the server's Unix socket; else *host* and *port*.
        finder: makes a `Finder` for each connection.
    """

    def __init__(
        self,
        *,
        socket_path: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        finder: Callable[[], Finder] | None = None,
    ) -> None:
        self.cuts: Iterator[Cut] = iter(())
        """What becomes of the next points that the finder finds."""
        self.is_dark = False
        """Whether new connections are refused."""
        self.delay_s = 0.0
        """How long each piece is on its way, in each direction."""
        self.bytes_max: int | None = None
        """How many more bytes go through, both directions together; then every connection is reset. None: all."""
        self.cut = 0
        """How many connections were cut at what was found."""
        self.port = 0
        self._socket_path = socket_path
        self._upstream = (host, port)
        self._finder = finder or (lambda: lambda _: False)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: dict[_Link, None] = {}  # The oldest first.
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection, and take no new ones."""
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    def cut_all(self) -> None:
        """Reset every connection, on both sides."""
        for link in [*self._links]:
            link.reset()

    def cut_one(self, number: int) -> None:
        """Reset the connection with this *number*, 1 for the oldest; counted round where there are fewer."""
        if links := [*self._links]:
            links[(number - 1) % len(links)].reset()

    def half_close_all(self) -> None:
        """Say to every server that its client will send no more, and forward what it still answers."""
        for link in [*self._links]:
            link.half_close()

    def hold(self) -> None:
        """Let nothing through, and keep it: nobody is told anything."""
        self._flowing.clear()

    def release(self) -> None:
        """Let what was held go on."""
        self._flowing.set()

    def next_cut(self) -> Cut:
        """What is to become of what was found now."""
        for cut in self.cuts:
            return cut
        return "none"

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would report it as an error that it was cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_dark:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            _reset(writer)
            return
        link = _Link(self, writer, server_writer)
        self._links[link] = None
        try:
            await link.run(reader, server_reader, self._finder())
        finally:
            self._links.pop(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._socket_path:
            return await asyncio.open_unix_connection(self._socket_path)
        return await asyncio.open_connection(*self._upstream)

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Forward *data* as the network lets it. Raises: ConnectionError where that ends here."""
        await self._flowing.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.bytes_max is not None:
            data, self.bytes_max = data[: self.bytes_max], max(self.bytes_max - len(data), 0)
        writer.write(data)
        await writer.drain()
        if self.bytes_max == 0:
            self.cut_all()
            raise ConnectionError("as many bytes went through as should")


class _Link:
    """One client's connection, and the one to the server that was opened for it."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._answering: asyncio.Task[None] | None = None
        self._is_half_closed = False

    async def run(self, client: asyncio.StreamReader, server: asyncio.StreamReader, finder: Finder) -> None:
        self._answering = asyncio.ensure_future(self._forward(server, self._client))
        try:
            with suppress(ConnectionError):
                while data := await client.read(CHUNK_BYTES):
                    cut: Cut = self._proxy.next_cut() if finder(data) else "none"
                    if cut != "none":
                        await self._cut(cut, data, server)
                        return
                    if not self._is_half_closed:
                        await self._proxy.pass_on(data, self._server)
                self.half_close()
                await self._answering
        finally:
            self._answering.cancel()
            self.reset()

    async def _cut(self, cut: Cut, data: bytes, server: asyncio.StreamReader) -> None:
        assert self._answering is not None
        self._answering.cancel()
        await asyncio.wait([self._answering])
        if cut != "before":
            await self._proxy.pass_on(data, self._server)
        if cut == "answered":
            await server.read(CHUNK_BYTES)
        if cut == "unanswered":
            # An orderly end, or the server would not read what came before it.
            self._server.close()
        self._proxy.cut += 1

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                await self._proxy.pass_on(data, writer)
        writer.close()

    def half_close(self) -> None:
        """The client's half: what it still sends is lost."""
        if not self._is_half_closed and not self._server.is_closing():
            self._is_half_closed = True
            self._server.write_eof()

    def reset(self) -> None:
        for writer in (self._client, self._server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End it with RST, where it is not closed yet."""
    if writer.is_closing():
        return
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class PostgresProxy(Proxy):
    """A proxy before the database at *url*, which is reached by a Unix socket; it finds each COMMIT."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(socket_path=f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432", finder=CommitFinder)
        self._database = parts.path[1:]

    @property
    def url(self) -> str:
        """The database's address through the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self._database}"


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[PostgresProxy]:
    """A proxy before the PostgreSQL database at *url*."""
    proxy = PostgresProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
