"""Sixteen who write single rows, each statement a transaction on the disk: with capture's triggers, and without.

Whoever captures has an app that follows the log and empties it. Where that is away, those who write also forget what is
old, at a price of its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import asyncpg
import uvloop

from bench.cache.menu import DISHES, URL, app, prepare, settings
from bench.messages.turn import Callers, said
from toque.testing import running

WRITERS = 16
ASKED_EACH_S = 1.0
UPDATE = "UPDATE dish SET version = version + 1 WHERE id = $1"
INSERT = "INSERT INTO dish (id, station_id, name, version) VALUES ($1, 1, 'soup of the day', 0)"
DELETE = "DELETE FROM dish WHERE id = $1"
LAST_TOLD = "SELECT max(xid) FROM toque.change"
TRIGGERS_OFF = "ALTER TABLE dish DISABLE TRIGGER toque_change_{}"


def writer(connection: asyncpg.Connection, number: int) -> Callable[[], Awaitable[object]]:
    """Writes a row again and again: three changes of one that was there, and one that comes and goes."""
    turns = count()
    own = DISHES + 1 + number

    async def write() -> None:
        turn = next(turns)
        match turn % 5:
            case 0:
                await connection.fetch(INSERT, own)
            case 4:
                await connection.fetch(DELETE, own)
            case _:
                await connection.fetch(UPDATE, 1 + (turn * WRITERS + number) % DISHES)

    return write


async def follow() -> None:
    """The app whose answers are kept, in a process of its own: it is asked something each second."""
    async with running(app, settings=settings(), database_url=URL) as kitchen:
        while True:
            await kitchen.call("bench.version", id=1)
            print("following", flush=True)
            await asyncio.sleep(ASKED_EACH_S)


@asynccontextmanager
async def followed() -> AsyncIterator[None]:
    """While somebody follows the log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.cache.capture", "follow", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"following\n"
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def main(who: str) -> None:
    await prepare()
    if who == "captured":
        async with followed():
            await measure(is_captured=True)
    else:
        await measure(is_captured=who == "unattended")


async def measure(*, is_captured: bool) -> None:
    connections = [await asyncpg.connect(URL) for _ in range(WRITERS)]
    if not is_captured:
        for event in ("insert", "update", "delete", "truncate"):
            await connections[0].execute(TRIGGERS_OFF.format(event))
    writers = [writer(connection, number) for number, connection in enumerate(connections)]
    free = asyncio.Queue[Callable[[], Awaitable[object]]]()
    for write in writers:
        free.put_nowait(write)

    async def write_once() -> None:
        write = free.get_nowait()  # as many as there are callers
        await write()
        free.put_nowait(write)

    found = await Callers(write_once, WRITERS).measured()
    before = await connections[0].fetchval(LAST_TOLD)
    await connections[0].fetch(UPDATE, 1)
    is_told = await connections[0].fetchval(LAST_TOLD) != before
    said(found, errors=int(is_told != is_captured))


if __name__ == "__main__":
    uvloop.run(follow() if sys.argv[1] == "follow" else main(sys.argv[1]))
