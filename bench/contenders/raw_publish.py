"""Hand-written RSGI on granian with asyncpg: what a row, and with BENCH_PUBLISH an event with its COMMIT, cost by
themselves.

The event goes into Toque's table, as a statement that the session has prepared, so what is left of the difference
between this one and its silent twin is PostgreSQL's.
"""

from __future__ import annotations

import os
from uuid import uuid4

import asyncpg
import msgspec

JSON = [("content-type", "application/json")]
POOL_SIZE = 16
TEXT = "no onions, well done, and a candle for the birthday " * 3

NOTE = "INSERT INTO note (number, text) VALUES ($1, $2)"
EVENT = """
PREPARE event (uuid, text, integer, text, text, text) AS
INSERT INTO toque.event_0 (slot, id, type, version, key, headers, data) VALUES (0, $1, $2, $3, $4, $5, $6)
"""

encode = msgspec.json.Encoder().encode


class App:
    pool: asyncpg.Pool

    def __rsgi_init__(self, loop):
        loop.run_until_complete(self.connect())

    async def connect(self):
        self.publishes = bool(os.environ.get("BENCH_PUBLISH"))
        self.pool = await asyncpg.create_pool(
            os.environ["BENCH_POSTGRES_URL"],
            min_size=POOL_SIZE,
            max_size=POOL_SIZE,
            init=self.prepare,
            reset=keep_session,
        )

    async def prepare(self, connection):
        if self.publishes:
            await connection.execute(EVENT)

    async def __rsgi__(self, scope, proto):
        number = int(scope.path.rpartition("/")[2])
        async with self.pool.acquire() as connection:
            await connection.execute("BEGIN")
            await connection.execute(NOTE, number, TEXT)
            await connection.execute(f"{event(number) if self.publishes else ''}COMMIT")
        proto.response_bytes(200, JSON, encode(number))


def event(number):
    data = encode({"number": number, "text": TEXT}).decode()
    return f"EXECUTE event('{uuid4().hex}', 'NoteTaken', 1, '{number}', '{{}}', '{data}');"


async def keep_session(connection):
    """Leave a returned connection as it is."""


app = App()
