"""Three workers over one PostgreSQL, clients, other programs, and blows: each answer is one that was promised."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import asyncpg
import httpx
import pytest
from reads import BOUND_S, History, Read, Write
from running import GIVE_UP_S, Served, serving

from toque.store.postgres_errors import FAILURES
from toque.testing.postgres import PrivatePostgres

pytestmark = pytest.mark.xdist_group("served")

BY_COMMAND, BY_SQL = (0, 1, 2), 3
"""The registers that commands raise, and the one that a program raises which has never heard of Toque."""


VALUES = itertools.count(1)
"""One trial's are above those of the one before, which the registers still hold."""

BURST = 64
STRICT_SHARE = 0.02
"""Of the bursts."""


class Trial:
    """Clients and writers, until it is over."""

    def __init__(self, served: Served, url: str, seed: int) -> None:
        self.url = served.url
        self.workers = served.workers()
        self.database_url = url
        self.history = History()
        self.statuses: Counter[str] = Counter()
        self.torn: list[Any] = []
        self.many = 0
        """Answers in bursts."""
        self.random = Random(seed)
        self._is_over = False

    async def run(self, seconds: float, *blows: Callable[[], Coroutine[Any, Any, None]], many: int = 0) -> None:
        """
        Args:
            many: how many of those read who do so in bursts.
        """
        for register, value in await self._rows("SELECT id, value FROM register"):
            self.history.write(Write(register, value, 0.0, monotonic()))
        async with asyncio.TaskGroup() as group:
            for register in BY_COMMAND:
                group.create_task(self._write(register))
            group.create_task(self._write_by_sql())
            group.create_task(self._move())
            for number in range(1 if many else 8):
                group.create_task(self._read(Random(number)))
            for _ in range(2):
                group.create_task(self._read_purses())
            for number in range(many):
                group.create_task(self._read_many(Random(number)))
            for blow in blows:
                await asyncio.sleep(seconds / (len(blows) + 1))
                await blow()
            await asyncio.sleep(seconds / (len(blows) + 1))
            self._is_over = True

    # Blows.

    async def freeze_a_worker(self) -> None:
        """For longer than answers may be old: what it answers first is from before, if it trusts its memory."""
        worker = self.random.choice(self.workers)
        os.kill(worker, signal.SIGSTOP)
        await asyncio.sleep(2 * BOUND_S)
        os.kill(worker, signal.SIGCONT)

    async def cut_the_tails(self) -> None:
        await self._sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%tail%'")

    async def cut_everybody(self) -> None:
        await self._sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def fill_anew(self) -> None:
        """TRUNCATE and COPY in one transaction, as a restored dump has them: nothing has changed after it."""
        connection: Any = await asyncpg.connect(self.database_url)
        async with connection.transaction():
            # The rows alone would not do: who writes one of them has the table locked for it already.
            await connection.execute("LOCK TABLE register")
            rows = [tuple(row) for row in await connection.fetch("SELECT id, value FROM register")]
            await connection.execute("TRUNCATE register")
            await connection.copy_records_to_table("register", records=rows)
        await connection.close()

    async def _rows(self, statement: str) -> list[Any]:
        connection: Any = await asyncpg.connect(self.database_url)
        found: list[Any] = await connection.fetch(statement)
        await connection.close()
        return found

    async def _sql(self, statement: str) -> None:
        connection: Any = await asyncpg.connect(self.database_url)
        await connection.execute(statement)
        await connection.close()

    # Who writes.

    async def _write(self, register: int) -> None:
        async with self._client() as client:
            while not self._is_over:
                value, sent = next(VALUES), monotonic()
                reply = await self._ask(client.post(f"/registers/{register}", json={"value": value}))
                acknowledged = monotonic() if reply is not None else None
                self.history.write(Write(register, value, sent, acknowledged))
                if reply is not None and "toque-mark" in reply.headers:
                    await self._read_own(register, value, reply.headers["toque-mark"])
                await asyncio.sleep(self.random.random() * 0.06)

    async def _read_own(self, register: int, value: int, mark: str) -> None:
        """By another connection, which may be another worker's."""
        async with self._client() as client:
            sent = monotonic()
            reply = await self._ask(client.get(f"/registers/{register}", headers={"toque-mark": mark}))
            if reply is not None:
                self.history.reads.append(Read(register, reply.json(), sent, monotonic(), own=value))

    async def _write_by_sql(self) -> None:
        while not self._is_over:
            with suppress(*FAILURES):
                connection: Any = await asyncpg.connect(self.database_url)
                try:
                    while not self._is_over:
                        value, sent = next(VALUES), monotonic()
                        self.history.write(Write(BY_SQL, value, sent))
                        await connection.execute("UPDATE register SET value = $1 WHERE id = $2", value, BY_SQL)
                        self.history.write(Write(BY_SQL, value, sent, monotonic()))
                        await asyncio.sleep(self.random.random() * 0.06)
                finally:
                    connection.terminate()

    async def _move(self) -> None:
        async with self._client() as client:
            while not self._is_over:
                await self._ask(client.post("/move", json={"coins": self.random.randrange(-5, 6)}))
                await asyncio.sleep(self.random.random() * 0.03)

    # Who reads.

    async def _read(self, random: Random) -> None:
        async with self._client() as client:
            while not self._is_over:
                register, is_strict = random.choice((*BY_COMMAND, BY_SQL)), random.random() < 0.4
                path = random.choice(("strictly", "strictly", "registers")) if is_strict else "registers"
                headers = {"cache-control": "no-cache"} if is_strict and path == "registers" else {}
                sent = monotonic()
                reply = await self._ask(client.get(f"/{path}/{register}", headers=headers))
                if reply is not None:
                    self.history.reads.append(Read(register, reply.json(), sent, monotonic(), is_strict))
                    self.statuses[reply.headers["cache-status"]] += 1

    async def _read_many(self, random: Random) -> None:
        """Bursts of one request, whose answers all belong to the time from the first sent to the last answered."""
        host, port = self.url.removeprefix("http://").split(":")
        while not self._is_over:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    while not self._is_over:
                        register, is_strict = random.choice((*BY_COMMAND, BY_SQL)), random.random() < STRICT_SHARE
                        path = "strictly" if is_strict else "registers"
                        sent = monotonic()
                        writer.write(f"GET /{path}/{register} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode() * BURST)
                        values = [await _value_of(reader) for _ in range(BURST)]
                        answered = monotonic()
                        self.many += len(values)
                        for value in {*values} - {None}:
                            self.history.reads.append(Read(register, value, sent, answered, is_strict))
                finally:
                    writer.close()

    async def _read_purses(self) -> None:
        async with self._client() as client:
            while not self._is_over:
                reply = await self._ask(client.get("/purses"))
                if reply is not None and sum(reply.json()) != 1000:
                    self.torn.append(reply.json())
                await asyncio.sleep(0.002)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=GIVE_UP_S)

    async def _ask(self, call: Any) -> httpx.Response | None:
        """The reply, if there is one; None where a blow has hit it."""
        try:
            reply: httpx.Response = await call
        except httpx.HTTPError:
            return None
        assert reply.status_code in (200, 204, 503, 504), reply.text
        return reply if reply.is_success else None


async def _value_of(reader: asyncio.StreamReader) -> int | None:
    """The number in the next answer; None in one that says why there is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    body = await reader.readexactly(length)
    if head.startswith(b"http/1.1 200"):
        return int(body)
    assert head.startswith((b"http/1.1 503", b"http/1.1 504")), head
    return None


@pytest.fixture(scope="module")
def registers(postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    url = postgres.create_database()
    folder: Path = tmp_path_factory.mktemp("registers")
    with serving("registers", folder, "--workers", "3", settings={"database.url": url}) as served:
        yield served, url
    postgres.drop_database(url)


async def _try(registers: tuple[Served, str], seed: int, seconds: float, names: list[str]) -> Trial:
    trial = Trial(*registers, seed)
    await trial.run(seconds, *(getattr(trial, name) for name in names))

    assert trial.history.violations() == []
    assert trial.torn == []
    assert trial.statuses["toque; hit"] > 0, trial.statuses
    return trial


async def test_each_answer_is_one_that_was_promised(registers: tuple[Served, str]) -> None:
    await _try(registers, 1, 4, ["cut_the_tails", "fill_anew", "freeze_a_worker", "cut_everybody"])


BLOWS = ("cut_the_tails", "cut_everybody", "fill_anew", "freeze_a_worker")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
async def test_each_of_very_many_answers_is_one_that_was_promised(registers: tuple[Served, str], seed: int) -> None:
    await _try(registers, seed, 20, Random(seed).choices(BLOWS, k=8))


TEN_MILLION = 10_000_000


@pytest.mark.soak
async def test_each_of_ten_million_answers_is_one_that_was_promised(registers: tuple[Served, str]) -> None:
    """A minute at a time, as long as that takes."""
    answers, minute = 0, 0
    while answers < TEN_MILLION:
        trial = Trial(*registers, minute)
        blows = [getattr(trial, name) for name in Random(minute).choices(BLOWS, k=4)]
        await trial.run(60, *blows, many=6)
        assert trial.history.violations() == []
        assert trial.torn == []
        assert trial.many > 0
        answers, minute = answers + trial.many, minute + 1
        print(f"{answers:,} answers in {minute} minutes")


def test_what_breaks_a_promise_is_seen() -> None:
    history = History()
    history.write(Write(0, 1, 0.0, 0.1))
    history.write(Write(0, 2, 5.0, 5.1))
    history.write(Write(0, 3, 6.0))
    fine = [Read(0, 2, 5.2, 5.3), Read(0, 1, 5.2, 5.3), Read(0, 1, 5.05, 5.3, True), Read(0, 3, 6.0, 6.3, own=2)]
    wrong = [
        Read(0, 1, 6.2, 6.3),
        Read(0, 1, 5.2, 5.3, is_strict=True),
        Read(0, 1, 5.2, 5.3, own=2),
        Read(0, 3, 5.2, 5.3),
        Read(0, 0, 1.2, 1.3),
    ]
    history.reads = fine
    assert history.violations() == []
    history.reads = wrong
    assert len(history.violations()) == len(wrong)
