"""A long line of one key costs nobody a look through it, and keeps its order."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from job_looks import act, is_empty, looked_at_by, rows, until

from toque import App, Database, Jobs, public
from toque.messages.jobs.floors import Floors
from toque.messages.jobs.job import Outcome
from toque.messages.jobs.limited_statements import LIMITED
from toque.messages.jobs.lines import LINES, PASSED_MAX
from toque.messages.jobs.statements import STATEMENTS
from toque.messages.jobs.table import JobTable
from toque.store import Store
from toque.testing import running

NAMES = '["kitchen.cook"]'
WORKED_ON = {"food": ["kitchen.cook"]}
LINE = 40_000
FEW = 20 * PASSED_MAX
"""Rows that all nodes of a plan may hand on when a look passes over as many as it may."""


def places(store: Store) -> tuple[str, ...]:
    """What PostgreSQL's statements are asked besides."""
    return (Floors(["food"]).places(["food"]),) if store.dialect_name == "postgresql" else ()


async def fill(store: Store, key: str, count: int, *, is_counted: bool = True) -> None:
    """Have *count* jobs of *key* wait, numbered by the SQL in *key* from `n`."""
    id = "gen_random_uuid()"
    if store.dialect_name == "sqlite":
        id = "lower({})".format(" || '-' || ".join(f"hex(randomblob({size}))" for size in (4, 2, 2, 2, 6)))
    now = "clock_timestamp()" if store.dialect_name == "postgresql" else "0"
    await act(
        store,
        f"""
        WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {count})
        INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data)
        SELECT {id}, 'food', 'kitchen.cook', 0, 0, {now}, {key}, '{{}}', '[]' FROM many
        """,
    )
    if is_counted:
        await act(store, "ANALYZE")


@pytest.mark.parametrize("is_counted", [True, False])
@pytest.mark.parametrize("statements", [STATEMENTS, LIMITED], ids=["queue", "queue with limits"])
async def test_a_claim_passes_over_few_of_a_line(other: Store, statements: Any, is_counted: bool) -> None:
    await fill(other, "'one'", LINE, is_counted=is_counted)
    await fill(other, "''", 20, is_counted=is_counted)
    claim = statements[other.dialect_name].claim

    # The first of the line, and then none of it while that one runs.
    for _ in range(2):
        assert await looked_at_by(other, claim.sql, ("food", 10, 1, NAMES, *places(other))) < FEW
        assert len(await JobTable(other, WORKED_ON).claim("food", 10, 1)) <= 1


@pytest.mark.parametrize("is_counted", [True, False])
async def test_setting_aside_and_looking_pass_over_few_of_a_line(other: Store, is_counted: bool) -> None:
    await fill(other, "'one'", LINE, is_counted=is_counted)
    await fill(other, "'k' || n", LINE, is_counted=is_counted)
    number, table = await JobTable(other, WORKED_ON).number(), JobTable(other, WORKED_ON)

    assert await looked_at_by(other, LINES[other.dialect_name].aside.sql, ("food", NAMES)) < FEW
    asked = (*places(other), NAMES, number, True, 0.0) if places(other) else ('["food"]', NAMES, number)
    assert await looked_at_by(other, STATEMENTS[other.dialect_name].look.sql, asked) < FEW
    view = await table.look(number)
    assert view.whole is not None
    assert (view.queues, view.whole.crowded) == ({"food"}, {"food"})


async def test_a_queue_without_keys_is_never_crowded(other: Store) -> None:
    await fill(other, "''", 2 * PASSED_MAX)

    view = await JobTable(other, WORKED_ON).look(1)

    assert view.whole is not None
    assert not view.whole.crowded


async def test_who_stands_behind_a_long_line_is_found_by_bounded_looks(other: Store) -> None:
    await fill(other, "'one'", 10 * PASSED_MAX)
    await fill(other, "''", 20)
    table = JobTable(other, WORKED_ON)
    number = await table.number()

    claimed, looks = 0, 0
    while claimed < 21:
        claimed += len(await table.claim("food", 10, number))
        await table.set_aside("food")
        looks += 1

    assert looks <= 10 + 3


def kitchen(gate: asyncio.Event, **rules: Any) -> tuple[App, list[int]]:
    app, cooked = App("kitchen"), list[int]()

    @app.job(queue="food", **rules)
    async def cook(number: int, db: Database) -> None:
        cooked.append(number)
        await gate.wait()

    @app.command("/orders", allow=public)
    async def order(first: int, last: int, key: str, jobs: Jobs) -> None:
        jobs.enqueue_many(cook, [(number,) for number in range(first, last)], key=key)

    return app, cooked


async def test_others_begin_though_a_long_line_waits_before_them(database_url: str, other: Store) -> None:
    gate = asyncio.Event()
    app, cooked = kitchen(gate)
    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order", first=0, last=3 * PASSED_MAX, key="one")
        await harness.call("kitchen.order", first=-5, last=0, key="")
        await until(lambda: len(cooked) == 6)

        assert sorted(cooked) == [-5, -4, -3, -2, -1, 0]
        (waiting,) = await rows(other, "SELECT count(*) FROM toque.job WHERE state = 3")
        assert waiting[0] > 0


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_line_goes_on_in_its_order_to_its_end(database_url: str, other: Store, isolation: str) -> None:
    gate, count = asyncio.Event(), 60
    app, cooked = kitchen(gate, isolation=isolation)
    async with running(app, database_url=database_url) as harness:
        await harness.call("kitchen.order", first=0, last=count, key="one")
        await until(lambda: cooked)
        assert await JobTable(other, WORKED_ON).set_aside("food") == count - 1
        looks = harness.serving.system.messages.tail.looks  # type: ignore[union-attr]
        gate.set()
        await until(lambda: len(cooked) == count)
        looks = harness.serving.system.messages.tail.looks - looks  # type: ignore[union-attr]
        await until(lambda: is_empty(other))

    assert cooked == list(range(count))
    # Each begins when the one before it has ended. On PostgreSQL it did at the next look of the tail, a second later.
    assert other.dialect_name == "sqlite" or looks < count / 2


async def test_whoever_is_set_behind_while_others_leave_is_not_forgotten(other: Store) -> None:
    """Two claim, end and set aside as fast as they can, and none waits for ever behind one that has left."""
    await fill(other, "'k' || (n % 7)", 300)
    began: list[tuple[str, int]] = []

    async def work(seed: int) -> None:
        table, dice = JobTable(other, WORKED_ON), random.Random(seed)
        number = await table.number()
        while not await is_empty(other):
            starts = await table.claim("food", dice.randint(1, 4), number)
            began.extend((start.key, start.pos) for start in starts)
            await asyncio.gather(
                table.settle(done=[Outcome(id=str(start.id), fence=start.fence) for start in starts]),
                table.set_aside("food"),
            )

    async with asyncio.timeout(60):
        await asyncio.gather(*map(work, range(3)))

    assert len(began) == 300
    for key in {key for key, _ in began}:
        of_key = [pos for each, pos in began if each == key]
        assert of_key == sorted(of_key)


async def test_a_note_that_was_brought_along_is_followed(other: Store) -> None:
    await fill(other, "'one'", 3)
    await act(other, "UPDATE toque.job SET state = 3")
    await act(other, "INSERT INTO toque.job_left (queue, key) VALUES ('food', 'one'), ('food', 'another')")

    assert (await JobTable(other, WORKED_ON).look(1)).has_left
    await JobTable(other, WORKED_ON).follow()
    assert len(await JobTable(other, WORKED_ON).claim("food", 10, 1)) == 1
    assert not (await JobTable(other, WORKED_ON).look(1)).has_left


async def test_one_that_leaves_unseen_is_followed(other: Store, database_url: str) -> None:
    """A transaction that is older than the end of the line takes away who stands before it."""
    await fill(other, "'one'", 3)
    if other.dialect_name != "postgresql":
        pytest.skip("SQLite has one writer, which sees everything")
    import asyncpg

    table = JobTable(other, WORKED_ON)
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        first = await connection.fetchval("SELECT min(pos) FROM toque.job")
        assert await table.set_aside("food") == 2
        await connection.execute("DELETE FROM toque.job WHERE pos = $1", first)
        await connection.execute("COMMIT")
    finally:
        await connection.close()

    assert not await table.claim("food", 10, 1)
    assert (await table.look(1)).has_left
    await table.follow()
    assert len(await table.claim("food", 10, 1)) == 1
    assert not (await table.look(1)).has_left
