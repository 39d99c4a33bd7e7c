"""A TCP proxy in front of PostgreSQL that cuts a connection around its COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import parse_qs, urlsplit

__all__ = ["Cut", "CuttingProxy", "proxy_before"]

Cut = Literal["none", "before", "unanswered", "answered"]
"""Where the connection ends: before the COMMIT goes on to the server, right after it has, or when the server's answer
is here and its client does not have it."""

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The whole message (PostgreSQL's manual, 55.7 "Message Formats", Query)."""


class CuttingProxy:
    """Forwards everything; the next COMMITs meet what `cuts` yields."""

    def __init__(self, socket: str, database: str) -> None:
        self.cuts: Iterator[Cut] = iter(())
        self.is_dark = False
        """Whether new connections are refused."""
        self.cut = 0
        self._socket = socket
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"postgresql://postgres@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{self._database}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_dark:
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        answers = asyncio.ensure_future(_pump(from_server, writer))
        self._tasks |= {task for task in (asyncio.current_task(), answers) if task is not None}
        try:
            while chunk := await reader.read(65536):
                cut: Cut = next(self.cuts, "none") if COMMIT in chunk else "none"
                if cut == "answered":
                    answers.cancel()
                    await asyncio.wait([answers])
                if cut != "before":
                    to_server.write(chunk)
                    await to_server.drain()
                if cut == "answered":
                    await from_server.read(65536)
                if cut != "none":
                    self.cut += 1
                    break
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            writer.transport.abort()
            to_server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[CuttingProxy]:
    """A proxy before the database at *url*, which is reached by a Unix socket."""
    parts = urlsplit(url)
    proxy = CuttingProxy(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432", parts.path[1:])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
