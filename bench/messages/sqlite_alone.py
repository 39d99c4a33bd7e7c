"""The standard library's sqlite3: an event for each of 64 callers, with a full sync and a commit for each of them."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bench.messages.turn import Callers, said

CALLERS = 64
TABLE = "CREATE TABLE event (pos INTEGER PRIMARY KEY, type TEXT, key TEXT, headers TEXT, data TEXT)"
EVENT = "INSERT INTO event (type, key, headers, data) VALUES ('Rung', '', '{}', '{\"number\":0}')"


def publish(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(EVENT)
    connection.execute("COMMIT")


async def main() -> None:
    with TemporaryDirectory(prefix="toque-bench-") as folder, ThreadPoolExecutor(1) as thread:
        file = Path(folder) / "alone.db"
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(TABLE)
        loop = asyncio.get_running_loop()
        callers = Callers(lambda: loop.run_in_executor(thread, publish, connection), CALLERS)
        found = await callers.measured()
        kept = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        connection.close()
    said(found, errors=abs(kept - callers.done))


if __name__ == "__main__":
    uvloop.run(main())
