"""Whatever is committed is read, once, in the order of what waited for one another; whatever is not never is."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import text

from toque.contract.errors import Conflict, Unavailable
from toque.log import layout
from toque.log.append import append
from toque.log.cursor import BEGINNING, Cursor
from toque.log.entry import Entry
from toque.log.reader import Reader, reader_of
from toque.messages.tables import STEPS, complaints, lay_out
from toque.store import Store
from toque.store.database import Database, transaction_of


async def publish(store: Store, *numbers: int, key: str = "", pause_s: float = 0.0, fails: bool = False) -> None:
    async def run(database: Database) -> None:
        for number in numbers:
            append(transaction_of(database), "Counted", 1, key=key, headers={"n": "ü'"}, data=b"%d" % number)
        if pause_s:
            await database.scalar(text("SELECT 1"))
            await asyncio.sleep(pause_s)
        if fails:
            raise Conflict("no")

    await store.command(run)


async def everything(reader: Reader, cursor: Cursor = BEGINNING, limit: int = 500) -> tuple[list[Entry], Cursor]:
    found: list[Entry] = []
    while True:
        entries, cursor = await reader.read(cursor, limit)
        found += entries
        if not entries and cursor.is_caught_up:
            return found, cursor


def numbers(entries: list[Entry]) -> list[int]:
    return [int(entry.data) for entry in entries]


async def test_what_a_command_appends_is_there_if_it_commits(store: Store) -> None:
    reader = reader_of(store)
    await publish(store, 1, 2, key="a'b\\")
    with pytest.raises(Conflict):
        await publish(store, 3, fails=True)
    await publish(store, 4)

    entries, cursor = await everything(reader)

    assert numbers(entries) == [1, 2, 4]
    assert entries[0].key == "a'b\\"
    assert entries[0].headers == {"n": "ü'"}
    assert entries[0].id.version == 7
    assert len({entry.id for entry in entries}) == 3
    assert (await everything(reader, cursor))[0] == []


async def test_a_savepoint_that_is_undone_takes_its_entries_along(store: Store) -> None:
    async def fail(database: Database) -> None:
        async with database.savepoint():
            append(transaction_of(database), "Counted", 1, key="", headers={}, data=b"2")
            raise Conflict("no")

    async def run(database: Database) -> None:
        append(transaction_of(database), "Counted", 1, key="", headers={}, data=b"1")
        with pytest.raises(Conflict):
            await fail(database)
        append(transaction_of(database), "Counted", 1, key="", headers={}, data=b"3")

    await store.command(run)

    assert numbers((await everything(reader_of(store)))[0]) == [1, 3]


async def test_pages_are_as_large_as_asked_for(store: Store) -> None:
    reader = reader_of(store)
    await publish(store, *range(25))

    sizes, cursor = [], BEGINNING
    for _ in range(4):
        entries, cursor = await reader.read(cursor, 10)
        sizes.append(len(entries))

    assert sizes == [10, 10, 5, 0]


async def test_now_and_since_are_places(store: Store) -> None:
    reader = reader_of(store)
    await publish(store, 1)
    now = await reader.now()
    await publish(store, 2)

    assert numbers((await everything(reader, now))[0]) == [2]
    first, second = (await everything(reader))[0]
    assert numbers((await everything(reader, await reader.since(first.at)))[0]) == [1, 2]
    assert numbers((await everything(reader, await reader.since((first.at + second.at) / 2)))[0]) == [2]
    assert (await everything(reader, await reader.since(second.at + 60)))[0] == []


@pytest.mark.parametrize("seed", range(6))
async def test_commits_in_any_order_are_read_once(store: Store, seed: int) -> None:
    """Twenty writers that publish early and commit late, some never, while three readers read in pages of any size."""
    chance = random.Random(seed)
    reader = reader_of(store)
    committed: list[int] = []

    async def write(writer: int) -> None:
        for turn in range(6):
            first = writer * 1000 + turn * 10
            count, fails = chance.randrange(1, 5), chance.random() < 0.2
            pause_s = chance.choice([0, 0, 0.002, 0.02])
            try:
                await publish(store, *range(first, first + count), pause_s=pause_s, fails=fails)
            except Conflict:
                continue
            committed.extend(range(first, first + count))

    async def follow(found: list[int], done: asyncio.Event) -> None:
        cursor = BEGINNING
        while True:
            is_last = done.is_set()
            entries, cursor = await reader.read(cursor, chance.choice([1, 3, 50]))
            found += numbers(list(entries))
            await asyncio.sleep(0.001)  # Readers that never rest keep SQLite's only writer from its turn.
            if is_last and not entries and cursor.is_caught_up:
                return

    done = asyncio.Event()
    read: list[list[int]] = [[], [], []]
    following = [asyncio.ensure_future(follow(found, done)) for found in read]
    await asyncio.gather(*(write(writer) for writer in range(8)))
    done.set()
    await asyncio.gather(*following)

    for found in read:
        assert sorted(found) == sorted(committed)


async def test_a_writer_that_takes_long_hides_nobody_else(store: Store, database_url: str) -> None:
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer")
    reader = reader_of(store)
    await publish(store, 1)
    _, cursor = await everything(reader)
    slow = asyncio.ensure_future(_open_long(store, 2))
    await asyncio.sleep(0.05)
    await publish(store, 3)

    early, cursor = await everything(reader, cursor)
    await slow
    late, _ = await everything(reader, cursor)

    assert numbers(early) == [3]
    assert numbers(late) == [2]


async def _open_long(store: Store, number: int) -> None:
    async def run(database: Database) -> None:
        # Written at once, so that its position is lower than that of what is committed before it.
        await database.execute(
            text(
                "INSERT INTO toque.event (slot, id, type, version, key, headers, data) "
                "VALUES (0, gen_random_uuid(), 'Counted', 1, '', '{}', :n)"
            ).bindparams(n=str(number))
        )
        await asyncio.sleep(0.2)

    await store.command(run)


async def test_a_database_restored_into_another_cluster_loses_nothing(store: Store) -> None:
    if store.dialect_name == "sqlite":
        pytest.skip("a SQLite file brings its positions along")
    reader = reader_of(store)
    await publish(store, *range(5))
    _, cursor = await reader.read(BEGINNING, 2)
    await _act(store, "UPDATE toque.epoch SET system = 'another'")
    # There, transactions had numbers that are high here.
    await _act(store, "UPDATE toque.event SET xid = (xid::text::bigint + 1000000)::text::xid8")
    ahead = Cursor(seen="1000900:1000900:")
    restored = reader_of(store)
    await restored.begin()
    await publish(store, 5, 6)

    assert numbers((await everything(restored, BEGINNING))[0]) == list(range(7))
    assert numbers((await everything(restored, cursor, 2))[0]) in ([2, 3, 4, 5, 6], list(range(7)))
    assert numbers((await everything(restored, ahead))[0])[-2:] == [5, 6]


async def _act(store: Store, statement: str) -> None:
    async def run(database: Any) -> None:
        await database.execute(text(statement))

    await store.command(run)


async def test_a_change_of_the_layout_lets_those_behind_it_pass(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup holds every table for an hour: whoever waits for one has all others wait behind him."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite keeps readers and writers apart")
    import asyncpg

    monkeypatch.setattr(layout, "AGAIN_S", 0.05)
    monkeypatch.setattr(layout, "AGAIN_MAX_S", 0.05)
    await layout.lay_out(database_url, STEPS[:-1])
    reader, other = [await asyncpg.connect(database_url) for _ in range(2)]
    try:
        await reader.execute("BEGIN; SELECT count(*) FROM toque.job")
        changing = asyncio.create_task(lay_out(database_url))
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await other.execute("BEGIN; LOCK TABLE toque.job IN ROW EXCLUSIVE MODE; COMMIT", timeout=5)
        await reader.execute("COMMIT")
        assert await changing == [STEPS[-1].name]
    finally:
        await reader.close()
        await other.close()


async def test_a_change_of_the_layout_that_never_has_its_lock_says_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite keeps readers and writers apart")
    import asyncpg

    monkeypatch.setattr(layout, "TRIES_MAX", 1)
    monkeypatch.setattr(layout, "AGAIN_S", 0.0)
    await layout.lay_out(database_url, STEPS[:-1])
    reader = await asyncpg.connect(database_url)
    try:
        await reader.execute("BEGIN; SELECT count(*) FROM toque.job")
        with pytest.raises(Unavailable, match="run it again when that has ended"):
            await lay_out(database_url)
    finally:
        await reader.close()


async def test_the_layout_is_made_once_and_asked_for(database_url: str) -> None:
    assert "events" in str((await complaints(database_url))[0])
    assert "events" in await lay_out(database_url)
    assert await lay_out(database_url) == []
    assert await complaints(database_url) == []
