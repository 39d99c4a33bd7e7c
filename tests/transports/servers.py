"""Real servers in the test's own event loop, each on a free port of loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from granian.constants import Interfaces
from granian.server.embed import Server

GIVE_UP_S = 30


@asynccontextmanager
async def granian_serving(edge: Any) -> AsyncIterator[str]:
    """granian with the RSGI application *edge*; yields `127.0.0.1:port`."""
    port = free_port()
    server = Server(edge, port=port, interface=Interfaces.RSGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    await _answering(port, serving)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()
        await asyncio.wait_for(serving, GIVE_UP_S)


@asynccontextmanager
async def uvicorn_serving(app: Any) -> AsyncIterator[str]:
    """uvicorn with the ASGI application *app*; yields `127.0.0.1:port`."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", ws="websockets-sansio"))
    serving = asyncio.create_task(server.serve())
    await _answering(port, serving)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, GIVE_UP_S)


async def until(condition: Any) -> None:
    """Wait until *condition* holds; give up after a long while."""
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def _answering(port: int, serving: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
    serving.result()
