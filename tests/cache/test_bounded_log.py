"""The log of changes is bounded, whoever is left: those who follow it, or only those who write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from library import TABLES
from sqlalchemy import Connection, text

from toque.cache import change_table
from toque.cache.changes import Images, changes_of
from toque.cache.postgres_changes import PostgresChanges
from toque.cache.trimming import CLAIM, Trimming
from toque.log.tail import Tail
from toque.store import Store
from toque.store.schema import with_connection

on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NEXT_SLOT = f"(floor(extract(epoch FROM clock_timestamp()) / {change_table.SLOT_S})::bigint + 1) % 3"
ROWS = "INSERT INTO author (id, name) VALUES (1, 'ann'), (2, 'bob')"
MANY = 20_000


async def _run(url: str, act: Callable[[Connection], Any]) -> Any:
    return await asyncio.to_thread(with_connection, url, act)


async def _do(store: Store, *texts: str) -> None:
    def act(connection: Connection) -> None:
        for each in texts:
            connection.exec_driver_sql(each)

    await _run(store.url, act)


async def _count(store: Store) -> int:
    name = "toque_change" if store.dialect_name == "sqlite" else "toque.change"
    found: int = await _run(store.url, lambda c: c.execute(text(f"SELECT count(*) FROM {name}")).scalar())
    return found


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


def _postgres(store: Store) -> PostgresChanges:
    return PostgresChanges(store, Images(TABLES, store.dialect_name))


@on_sqlite
async def test_who_writes_on_sqlite_forgets_what_is_old(library: Store) -> None:
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    await _do(library, ROWS)
    seen = await changes.look(before.snapshot)
    await _do(
        library,
        "INSERT INTO toque_change (name, columns, images) WITH RECURSIVE n(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {change_table.KEPT + 2000}) SELECT 'author', '[]', '[]' FROM n",
    )

    assert change_table.KEPT <= await _count(library) <= change_table.KEPT + change_table.AT_ONCE
    now = await changes.look(seen.snapshot)
    assert now.is_gap
    await _do(library, "DELETE FROM author WHERE id = 2")
    assert [each.table for each in (await changes.look(now.snapshot)).changes] == ["author"]


@on_postgres
async def test_trimming_forgets_only_what_is_old(library: Store) -> None:
    changes = _postgres(library)
    before = await changes.look(None)
    await _do(library, ROWS)
    await changes.trim()

    seen = await changes.look(before.snapshot)
    assert not seen.is_gap
    assert len(seen.changes) > 0


@on_postgres
async def test_a_part_is_said_to_be_lost_before_it_is_emptied(library: Store) -> None:
    changes = _postgres(library)
    before = await changes.look(None)
    await _do(library, ROWS, f"UPDATE toque.change SET slot = {NEXT_SLOT}")

    await changes.trim()
    assert (await changes.look(before.snapshot)).is_gap
    assert await _count(library) > 0
    await changes.trim()
    assert await _count(library) == 0


@on_postgres
async def test_whoever_is_left_trims(library: Store) -> None:
    tails = [Tail(library.url, ()) for _ in range(2)]
    first, second = (Trimming(_postgres(library), tail, every_s=0.02) for tail in tails)
    for tail in tails:
        await tail.start()
    await _postgres(library).look(None)
    first.begin()
    await _until(lambda: _true(tails[0].holds(CLAIM)))
    second.begin()

    await first.stop()
    await tails[0].stop()  # As if it had been killed: its connection ends.
    await _until(lambda: _true(tails[1].holds(CLAIM)))
    await _do(library, ROWS, f"UPDATE toque.change SET slot = {NEXT_SLOT}")
    await _until(lambda: _is_empty(library))

    await second.stop()
    await tails[1].stop()


@on_postgres
async def test_who_trims_no_more_lets_others(library: Store) -> None:
    tail = Tail(library.url, ())
    await tail.start()
    trimming = Trimming(_postgres(library), tail, every_s=0.01, last_s=0.0)
    trimming.begin()
    lasting = Trimming(_postgres(library), tail, every_s=0.01, last_s=0.3)
    lasting.begin()
    await _until(lambda: _true(tail.holds(CLAIM)))
    await _until(lambda: _true(not tail.holds(CLAIM)))

    await trimming.stop()
    await lasting.stop()
    await tail.stop()


@on_postgres
async def test_who_writes_on_postgres_forgets_where_nobody_trims(library: Store) -> None:
    changes = _postgres(library)
    before = await changes.look(None)
    await _do(library, ROWS, "UPDATE toque.change_state SET rotated_at = '2000-01-01'")
    await _write_many(library, MANY)

    assert 0 < await _count(library) < MANY / 2
    assert (await changes.look(before.snapshot)).is_gap


@on_postgres
async def test_who_writes_forgets_nothing_where_somebody_trims(library: Store) -> None:
    changes = _postgres(library)
    before = await changes.look(None)
    await _do(library, ROWS, "UPDATE toque.change_state SET rotated_at = '2000-01-01'")
    await changes.trim()
    await _write_many(library, 2000)

    assert await _count(library) == 2001
    seen = await changes.look(before.snapshot)
    assert seen.is_gap  # They are too many for a look, and all there.


@on_postgres
async def test_the_log_is_bounded_although_nobody_has_ever_looked(library: Store) -> None:
    await _do(library, ROWS)
    await _write_many(library, MANY)

    assert 0 < await _count(library) < MANY / 2


@on_postgres
async def test_a_stricter_transaction_forgets_nothing(library: Store) -> None:
    await _do(library, ROWS)
    await _run(library.url, _strictly)

    assert await _count(library) == 2001


def _strictly(connection: Connection) -> None:
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN ISOLATION LEVEL SERIALIZABLE")
    connection.exec_driver_sql(_many(2000, commits=False))


def _many(number: int, *, commits: bool) -> str:
    commit = "COMMIT;" if commits else ""
    return f"DO $$ BEGIN FOR n IN 1..{number} LOOP UPDATE author SET fame = n WHERE id = 1; {commit} END LOOP; END $$"


async def _write_many(store: Store, number: int) -> None:
    """So many commits, each a change."""
    import asyncpg

    connection = await asyncpg.connect(store.url)
    try:
        await connection.execute(_many(number, commits=True))
    finally:
        await connection.close()


async def _true(value: bool) -> bool:
    return value


async def _is_empty(store: Store) -> bool:
    return await _count(store) == 0
