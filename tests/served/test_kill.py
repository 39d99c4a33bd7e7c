"""kill -9 between any two steps of change, key and answer: one effect a key, and no acknowledged one is lost (R-CR-01).

A client that heard nothing tries again with the same key, as long as it takes.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import msgspec
import pytest
from running import APPS, GIVE_UP_S, Served, environment_of, kill_if_alive, start, until
from sqlalchemy import text

from toque.store import open_store

CLIENTS = 8


class Row(msgspec.Struct):
    id: int
    word: str


class Ledger:
    """The served app, which is killed and started again on its port."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port = 0
        self._environment = environment_of({"database.url": database_url})
        shutil.copytree(APPS / "ledger", folder / "app")
        self.start()

    def start(self) -> None:
        words = ["run", str(self.folder / "app"), "--port", str(self.port)]
        self.served: Served = start(words, self.folder, self._environment)
        self.port = self.served.port
        until(self.served.answers, "the first answer")

    def kill(self) -> None:
        """All of it at once, as when the power fails."""
        for pid in (self.served.pid, *self.served.workers()):
            kill_if_alive(pid)
        self.served.wait()
        assert self.served.process.stdout is not None
        self.served.process.stdout.close()


async def client(ledger: Ledger, name: int, acknowledged: dict[str, int], is_over: asyncio.Event) -> None:
    """Write one word after the other; each is tried until it is acknowledged."""
    number = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ledger.port}", timeout=GIVE_UP_S) as http:
        while not is_over.is_set():
            word = f"{name}-{number}"
            try:
                reply = await http.post("/entries", json={"word": word}, headers={"idempotency-key": word})
            except httpx.HTTPError:
                await asyncio.sleep(0.02)
                continue
            if reply.status_code in (409, 503):
                await asyncio.sleep(0.02)
                continue
            assert reply.status_code == 200, reply.text
            acknowledged[word] = reply.json()["id"]
            number += 1


async def kill_again_and_again(tmp_path: Path, database_url: str, kills: int, random: Random) -> None:
    ledger = await asyncio.to_thread(Ledger, tmp_path, database_url)
    acknowledged: dict[str, int] = {}
    is_over = asyncio.Event()
    clients = [asyncio.create_task(client(ledger, name, acknowledged, is_over)) for name in range(CLIENTS)]
    try:
        for _ in range(kills):
            before = len(acknowledged)
            async with asyncio.timeout(GIVE_UP_S):
                while len(acknowledged) < before + CLIENTS:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(random.random() * 0.1)
            await asyncio.to_thread(ledger.kill)
            await asyncio.to_thread(ledger.start)
        is_over.set()
        async with asyncio.timeout(GIVE_UP_S):
            await asyncio.gather(*clients)
    finally:
        for task in clients:
            task.cancel()
        await asyncio.to_thread(ledger.kill)

    store = open_store(database_url)
    await store.start()
    rows = await store.query(lambda db: db.all(Row, text("SELECT id, word FROM entry")))
    await store.stop()
    times = Counter(row.word for row in rows)
    ids = {row.word: row.id for row in rows}
    assert {word: times[word] for word in times if times[word] != 1} == {}
    assert {word: id for word, id in acknowledged.items() if ids.get(word) != id} == {}
    assert {word for word in acknowledged if f"{word} too" not in ids} == set()
    assert len(acknowledged) >= kills * CLIENTS


@pytest.mark.parametrize("seed", [1])
async def test_a_key_has_one_effect_however_often_the_server_is_killed(
    tmp_path: Path, database_url: str, seed: int
) -> None:
    await kill_again_and_again(tmp_path, database_url, kills=4, random=Random(seed))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 20))
async def test_a_key_has_one_effect_however_often_the_server_is_killed_for_long(
    tmp_path: Path, database_url: str, seed: int
) -> None:
    await kill_again_and_again(tmp_path, database_url, kills=100, random=Random(seed))
