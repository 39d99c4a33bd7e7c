"""Hand-written RSGI on granian with the standard library's sqlite3, read in the loop: the floor."""

from __future__ import annotations

import os
import sqlite3

import msgspec

JSON = [("content-type", "application/json")]
READ = "SELECT id, random_number FROM world WHERE id = ?"

encode = msgspec.json.Encoder().encode


class World(msgspec.Struct):
    id: int
    random_number: int


connection = sqlite3.connect(f"file:{os.environ['BENCH_SQLITE_FILE']}?mode=ro", uri=True)


async def app(scope, proto):
    id = int(scope.path.rpartition("/")[2])
    row = connection.execute(READ, (id,)).fetchone()
    proto.response_bytes(200, JSON, encode(World(*row)))
