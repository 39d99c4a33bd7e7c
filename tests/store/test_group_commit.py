"""SQLite's writer: many commands, few commits, each command for itself, and nothing acknowledged is ever
lost."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from kitchen_models import Account, Dish, KitchenModel, Tag
from sqlalchemy import func, insert, select, text, update

from toque.contract.errors import Conflict, Unavailable
from toque.store import sqlite_plan, sqlite_writer
from toque.store.schema import create_missing
from toque.store.sqlite import SqliteStore, copy_file
from toque.store.sqlite_writer import BATCH_MAX


@pytest.fixture
async def sqlite(tmp_path: Path) -> Any:
    path = tmp_path / "test.db"
    await create_missing(f"sqlite:///{path}", KitchenModel.metadata)
    store = SqliteStore(path)
    await store.start()
    yield store
    await store.stop()


def add(store: SqliteStore, word: str) -> Any:
    return store.command(lambda db: db.execute(insert(Tag).values(word=word)))


async def words(store: SqliteStore) -> set[str]:
    return {*await store.query(lambda db: db.all(str, select(Tag.word)))}


async def test_commands_that_come_together_share_commits(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a batch is old before it is full, and what is counted here is the sharing.
    monkeypatch.setattr(sqlite_writer, "BATCH_AGE_S", 60.0)
    monkeypatch.setattr(sqlite_writer, "PART_AFTER_S", 60.0)

    await asyncio.gather(*(add(sqlite, f"w{i}") for i in range(200)))

    assert len(await words(sqlite)) == 200
    assert sqlite.writer.commands == 200
    assert sqlite.writer.commits <= 200 / BATCH_MAX + 2


async def test_what_the_first_waited_for_does_not_make_a_batch_old(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is another's, or the disk is still at the commit before: those who come meanwhile go together."""
    monkeypatch.setattr(sqlite_writer, "BATCH_AGE_S", 0.5)
    monkeypatch.setattr(sqlite_writer, "PART_AFTER_S", 60.0)

    with closing(sqlite3.connect(sqlite.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.gather(*(add(sqlite, f"w{i}") for i in range(BATCH_MAX)))
        await asyncio.sleep(0.8)
        other.execute("ROLLBACK")
        await adding

    assert sqlite.writer.commits == 1


async def test_a_command_alone_is_committed_at_once(sqlite: SqliteStore) -> None:
    for i in range(5):
        await add(sqlite, f"w{i}")

    assert sqlite.writer.commits == 5


async def test_one_failing_command_rolls_back_alone(sqlite: SqliteStore) -> None:
    results = await asyncio.gather(
        *(add(sqlite, "same" if i % 10 == 5 else f"w{i}") for i in range(50)), return_exceptions=True
    )

    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert len(await words(sqlite)) == 46
    assert sqlite.writer.commits < 46


async def test_a_command_that_dawdles_does_not_hold_up_those_before_it(sqlite: SqliteStore) -> None:
    release = asyncio.Event()

    async def dawdle(db: Any) -> None:
        await db.execute(insert(Tag).values(word="slow"))
        await release.wait()
        await db.execute(insert(Tag).values(word="slow too"))

    first = asyncio.ensure_future(add(sqlite, "first"))
    slow = asyncio.ensure_future(sqlite.command(dawdle))
    async with asyncio.timeout(5):
        await first
    assert await words(sqlite) == {"first"}
    release.set()
    await slow

    assert await words(sqlite) == {"first", "slow", "slow too"}


async def test_a_deferred_constraint_fails_only_the_command_that_broke_it(sqlite: SqliteStore) -> None:
    deferred = "CREATE TABLE child (id INTEGER, parent INTEGER REFERENCES dish (id) DEFERRABLE INITIALLY DEFERRED)"
    await sqlite.command(lambda db: db.execute(text(deferred)))

    async def orphan(db: Any) -> None:
        await db.execute(text("INSERT INTO child VALUES (1, 77)"))

    results = await asyncio.gather(
        add(sqlite, "before"), sqlite.command(orphan), add(sqlite, "after"), return_exceptions=True
    )

    assert [type(result) for result in results] == [int, Conflict, int]
    assert await words(sqlite) == {"before", "after"}


async def test_commands_of_several_stores_on_one_file_all_count(sqlite: SqliteStore) -> None:
    others = [SqliteStore(sqlite.path) for _ in range(3)]
    for store in others:
        await store.start()
    await sqlite.command(lambda db: db.execute(insert(Account).values(id=1, balance=0)))
    increase = update(Account).values(balance=Account.balance + 1)

    await asyncio.gather(
        *(store.command(lambda db: db.execute(increase)) for store in (sqlite, *others) for _ in range(25))
    )

    assert await sqlite.query(lambda db: db.scalar(select(Account.balance))) == 100
    for store in others:
        await store.stop()


async def test_the_file_is_set_up_for_durability(sqlite: SqliteStore) -> None:
    pragmas = [
        await sqlite.command(lambda db, n=name: db.scalar(text(f"PRAGMA {n}")))
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]

    assert pragmas == ["wal", 2, 1]


WRITE_UNTIL_KILLED = """
    import asyncio, sys
    sys.path.insert(0, {tests!r})
    from kitchen_models import Tag
    from sqlalchemy import insert
    from toque.store import open_store

    async def main():
        store = open_store({url!r})
        await store.start()

        async def write(worker):
            for i in range(10**9):
                word = f"{{worker}}-{{i}}"
                await store.command(lambda db: db.execute(insert(Tag).values(word=word)))
                print(word, flush=True)

        await asyncio.gather(*(write(worker) for worker in range(16)))

    asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(sqlite: SqliteStore) -> None:
    program = dedent(WRITE_UNTIL_KILLED).format(tests=str(Path(__file__).parent), url=sqlite.url)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(300)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    assert {*acknowledged} <= await words(sqlite)
    integrity = await sqlite.query(lambda db: db.scalar(text("PRAGMA integrity_check")))
    assert integrity == "ok"


async def test_a_database_is_copied_for_a_test(tmp_path: Path) -> None:
    template, copy = tmp_path / "template.db", tmp_path / "copy.db"
    await create_missing(f"sqlite:///{template}", KitchenModel.metadata)
    copy_file(template, copy)
    store = SqliteStore(copy, is_durable=False)
    await store.start()
    await add(store, "mine")
    with pytest.raises(ValueError, match="is open"):
        copy_file(copy, tmp_path / "other.db")
    await store.stop()

    with closing(sqlite3.connect(template)) as connection:
        assert connection.execute("SELECT count(*) FROM tag").fetchone() == (0,)


async def test_a_database_in_memory_is_gone_with_its_store() -> None:
    store = SqliteStore(None)
    await store.start()
    await create_missing(store.url, KitchenModel.metadata)
    await add(store, "here")
    assert await words(store) == {"here"}
    await store.stop()

    assert not store.path.exists()


async def test_reads_by_key_run_in_the_loop_and_others_in_threads(sqlite: SqliteStore) -> None:
    from toque.store.sqlite_plan import is_cheap

    connection = sqlite3.connect(sqlite.path)
    cheap = [
        "SELECT name FROM dish WHERE id = ?",
        "SELECT name FROM dish WHERE name = ?",
        "SELECT i.id FROM item AS i JOIN dish AS d ON d.id = i.dish_id WHERE i.id = ?",
        "SELECT 1 WHERE 1 = ?",
    ]
    dear = [
        "SELECT name FROM dish WHERE price = ?",
        "SELECT name FROM dish WHERE id > ?",
        "SELECT name FROM dish WHERE id IN (SELECT dish_id FROM item WHERE quantity = ?)",
        "SELECT count(*) FROM dish WHERE id <> ?",
    ]

    assert [is_cheap(connection, sql, (1,)) for sql in cheap] == [True] * 4
    assert [is_cheap(connection, sql, (1,)) for sql in dear] == [False] * 4
    connection.close()


async def test_a_statement_that_outgrows_the_loop_is_sent_to_a_thread(sqlite: SqliteStore) -> None:
    from toque.store.sqlite_plan import OverBudget
    from toque.store.sqlite_readers import Reader

    reader = Reader(sqlite.path, None)
    endless = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r"
    with pytest.raises(OverBudget):
        reader.fetch_here(endless, (), 0)

    assert reader.fetch_here("SELECT 1", (), 0) == [(1,)]
    reader.connection.close()


async def test_commands_in_one_batch_see_one_another_in_order(sqlite: SqliteStore) -> None:
    async def create(db: Any, i: int) -> int:
        await db.execute(insert(Dish).values(name=f"d{i}", price=i))
        return await db.scalar(select(func.count()).select_from(Dish))

    counts = await asyncio.gather(*(sqlite.command(lambda db, i=i: create(db, i)) for i in range(100)))

    assert sorted(counts) == list(range(1, 101))


async def test_cheap_writes_run_in_the_loop_once_their_transaction_is_open(sqlite: SqliteStore) -> None:
    threads: list[int] = []
    sqlite.writer._batch.connection.create_function("here", 0, lambda: threads.append(threading.get_ident()))
    cheap = text("INSERT INTO tag (word) VALUES (coalesce(here(), :word))")
    dear = text("UPDATE tag SET word = coalesce(here(), word) WHERE word LIKE :word")

    async def write(db: Any) -> None:
        await db.execute(cheap, {"word": "one"})
        await db.execute(cheap, {"word": "two"})
        await db.execute(dear, {"word": "t%"})
        await db.execute(dear, {"word": "tw%"})

    await sqlite.command(write)

    in_loop = [thread == threading.get_ident() for thread in threads]
    assert in_loop == [False, True, False, False]


async def test_a_write_that_outgrows_the_loop_is_run_again_in_the_thread(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite undoes the whole transaction when it stops a write: those before it in the batch are run again."""
    monkeypatch.setattr(sqlite_writer, "BATCH_AGE_S", 60.0)
    monkeypatch.setattr(sqlite_writer, "PART_AFTER_S", 60.0)
    slow = """CREATE TRIGGER slow AFTER INSERT ON note WHEN new.word = 'slow' BEGIN INSERT INTO counted
        WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 300000) SELECT count(*) FROM r; END"""
    for made in ("CREATE TABLE note (word TEXT)", "CREATE TABLE counted (count INTEGER)", slow):
        await sqlite.command(lambda db, made=made: db.execute(text(made)))
    write = text("INSERT INTO note (word) VALUES (:word)")
    await sqlite.command(lambda db: db.execute(write, {"word": "first"}))

    await asyncio.gather(
        *(sqlite.command(lambda db, w=word: db.execute(write, {"word": w})) for word in ("a", "b", "slow", "c", "d"))
    )

    noted = await sqlite.query(lambda db: db.all(str, text("SELECT word FROM note ORDER BY word")))
    assert noted == ["a", "b", "c", "d", "first", "slow"]
    assert sqlite.repeats == {"undone": 1}


async def test_what_a_command_does_between_its_statements_is_not_on_the_budget_of_the_last(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite looks at the clock at the end of a savepoint too, now and then; here it does so each time."""
    monkeypatch.setattr(sqlite_writer, "BATCH_AGE_S", 60.0)
    monkeypatch.setattr(sqlite_writer, "PART_AFTER_S", 60.0)
    monkeypatch.setattr(sqlite_plan, "INSTRUCTIONS_PER_LOOK", 1)
    monkeypatch.setattr(sqlite_plan, "BUDGET_S", 0.1)
    write = text("INSERT INTO tag (word) VALUES (:word)")

    async def think(db: Any, word: str) -> None:
        await db.execute(write, {"word": word})
        time.sleep(0.15)

    await sqlite.command(lambda db: db.execute(write, {"word": "first"}))
    await asyncio.gather(
        *(sqlite.command(lambda db, i=i: db.execute(write, {"word": f"w{i}"})) for i in range(10)),
        sqlite.command(lambda db: think(db, "slow")),
        sqlite.command(lambda db: think(db, "slow too")),
    )

    assert len(await words(sqlite)) == 13
    assert sqlite.repeats == {}


async def test_what_a_query_does_between_its_statements_is_not_on_the_budget_of_the_last(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_plan, "INSTRUCTIONS_PER_LOOK", 1)
    monkeypatch.setattr(sqlite_plan, "BUDGET_S", 0.1)

    async def think(db: Any, by: Any) -> Any:
        found = await db.first(str, select(Tag.word).where(by))
        time.sleep(0.15)
        return found, await db.first(str, select(Tag.word).where(by))

    await add(sqlite, "first")
    for by in (Tag.id == 1, Tag.word == "first", Tag.id == 1):
        assert await sqlite.query(lambda db, by=by: think(db, by)) == ("first", "first")
        time.sleep(0.15)


async def test_a_full_disk_fails_the_command_that_met_it(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It too undoes the whole transaction, in the loop as in the thread."""
    monkeypatch.setattr(sqlite_writer, "BATCH_AGE_S", 60.0)
    monkeypatch.setattr(sqlite_writer, "PART_AFTER_S", 60.0)
    await add(sqlite, "before")
    pages = sqlite.writer._batch.connection.execute("PRAGMA page_count").fetchone()[0]
    sqlite.writer._batch.connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    results = await asyncio.gather(
        *(add(sqlite, word) for word in ("a", "b", "x" * 100_000, "c")), return_exceptions=True
    )

    assert [type(result) for result in results] == [int, int, Unavailable, int]
    assert await words(sqlite) == {"before", "a", "b", "c"}
