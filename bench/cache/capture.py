"""Sixteen who write single rows, each statement a transaction on the disk: with capture's triggers, and without."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import count

import asyncpg
import uvloop

from bench.cache.menu import DISHES, URL, prepare
from bench.messages.turn import Callers, said

WRITERS = 16
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


async def main(is_captured: bool) -> None:
    await prepare()
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
    uvloop.run(main(sys.argv[1] == "captured"))
