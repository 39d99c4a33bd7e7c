"""Hand-written RSGI on granian with asyncpg: the floor for work with PostgreSQL.

The pool does not send asyncpg's reset query when a connection comes back (`reset=`): no handler here leaves
session state behind, and the query would cost about half of a one-row request. That is what TechEmpower's
asyncpg entries do too (their NoResetConnection).
"""

from __future__ import annotations

import os

import asyncpg
import msgspec

JSON = [("content-type", "application/json")]
POOL_SIZE = 16

encode = msgspec.json.Encoder().encode

READ = "SELECT id, random_number FROM world WHERE id = $1"
READ_FORTUNES = "SELECT id, message FROM fortune ORDER BY message"
WRITE = "UPDATE world SET random_number = $2 WHERE id = $1"


class World(msgspec.Struct):
    id: int
    random_number: int


class Fortune(msgspec.Struct):
    id: int
    message: str


class App:
    pool: asyncpg.Pool

    def __rsgi_init__(self, loop):
        loop.run_until_complete(self.connect())

    async def connect(self):
        self.pool = await asyncpg.create_pool(
            os.environ["BENCH_POSTGRES_URL"], min_size=POOL_SIZE, max_size=POOL_SIZE, reset=keep_session
        )

    async def __rsgi__(self, scope, proto):
        _, handler, *rest = scope.path.split("/")
        await getattr(self, f"on_{handler}")(proto, *map(int, rest))

    async def on_world(self, proto, id):
        async with self.pool.acquire() as connection:
            row = await connection.fetchrow(READ, id)
        proto.response_bytes(200, JSON, encode(World(*row)))

    async def on_worlds(self, proto, first):
        async with self.pool.acquire() as connection:
            rows = [await connection.fetchrow(READ, id) for id in range(first, first + 20)]
        proto.response_bytes(200, JSON, encode([World(*row) for row in rows]))

    async def on_fortunes(self, proto):
        async with self.pool.acquire() as connection:
            rows = await connection.fetch(READ_FORTUNES)
        proto.response_bytes(200, JSON, encode([Fortune(*row) for row in rows]))

    async def on_renewals(self, proto, first, number):
        async with self.pool.acquire() as connection, connection.transaction():
            rows = [await connection.fetchrow(READ, id) for id in range(first, first + 5)]
            worlds = [World(row["id"], number) for row in rows]
            await connection.executemany(WRITE, [(world.id, world.random_number) for world in worlds])
        proto.response_bytes(200, JSON, encode(worlds))


async def keep_session(connection):
    """Leave a returned connection as it is."""


app = App()
