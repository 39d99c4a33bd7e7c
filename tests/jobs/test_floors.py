"""Where everything that was deleted is kept, a claim does not walk over it, and passes nobody by for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_looks import act, rows, until

from toque import App, Event, Jobs, Outbox, Steps, public
from toque.contract.errors import DeadlineExceeded
from toque.log import postgres_wire
from toque.messages.jobs import floors as module
from toque.messages.jobs import rescue
from toque.messages.jobs.floors import First, Floors
from toque.messages.jobs.job import Outcome
from toque.messages.jobs.statements import STATEMENTS
from toque.messages.jobs.table import JobTable
from toque.store import Store, open_store
from toque.store.database import transaction_of
from toque.store.prepared import Prepared
from toque.testing import running

WORKED_ON = {"food": ["kitchen.cook"]}
GONE = 20_000
"""Jobs that were claimed and have ended: a look that walks over them takes several milliseconds."""


class Queue:
    """A queue as its statements see it: what is committed, in the order of rank and position."""

    def __init__(self) -> None:
        self.waiting: dict[int, int] = {}
        """Ranks by position."""
        self.open: dict[int, list[tuple[int, int]]] = {}
        """What transactions have put into it that have not ended, by their numbers."""
        self.last, self.next_transaction = 0, 1

    def begin(self, ranks: list[int]) -> None:
        self.open[self.next_transaction] = [(self.last + at, rank) for at, rank in enumerate(ranks, 1)]
        self.last += len(ranks)
        self.next_transaction += 1

    def commit(self, which: int) -> None:
        if self.open:
            self.waiting.update(self.open.pop(sorted(self.open)[which % len(self.open)]))

    def first(self, place: dict[str, int]) -> First | None:
        here = [found for found in ((rank, pos) for pos, rank in self.waiting.items()) if is_at(found, place)]
        return First("food", place["rank"], *min(here), True) if here else None

    def look(self, floors: Floors, *, is_whole: bool) -> None:
        places = json.loads(floors.places(["food"], is_whole=is_whole))
        firsts = [first for first in map(self.first, places) if first is not None]
        xmin = min(self.open, default=self.next_transaction)
        floors.learn(firsts, is_whole=is_whole, took_s=1.0, last=self.last, xmin=xmin, xmax=self.next_transaction)


def is_at(found: tuple[int, int], place: dict[str, int]) -> bool:
    return found >= (place["rank"], place["pos"]) and found[0] < place["below"]


RANKS = st.sampled_from([-2, 0, 0, 0, 3])
ACTS = st.one_of(
    st.tuples(st.just("begin"), st.lists(RANKS, min_size=1, max_size=3)),
    st.tuples(st.just("commit"), st.integers(0, 5)),
    st.tuples(st.just("claim"), st.integers(0, 3)),
    st.tuples(st.just("look"), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ACTS, max_size=40))
def test_nobody_who_waits_is_below_a_floor(acts: list[tuple[str, Any]]) -> None:
    """Whatever the order in which transactions end, of which each may have positions that others are past."""
    floors, queue = Floors(["food"]), Queue()
    queue.look(floors, is_whole=True)
    for act_, argument in acts:
        if act_ == "begin":
            queue.begin(argument)
        elif act_ == "commit":
            queue.commit(argument)
        elif act_ == "claim":
            for rank, pos in sorted((rank, pos) for pos, rank in queue.waiting.items())[:argument]:
                floors.meet("food", -rank)
                del queue.waiting[pos]
        else:
            queue.look(floors, is_whole=argument)
        places = json.loads(floors.places(["food"]))
        for pos, rank in queue.waiting.items():
            assert any(is_at((rank, pos), place) for place in places)


def test_floors_follow_what_has_gone() -> None:
    floors, queue = Floors(["food"]), Queue()
    for number in range(1, 100):
        queue.begin([0])
        queue.commit(0)
        queue.look(floors, is_whole=number == 1)
        queue.waiting.clear()
        floors.meet("food", 0)

    assert json.loads(floors.places(["food"]))[-1]["pos"] > 90


def test_positions_of_a_transaction_that_goes_on_stay_in_sight() -> None:
    floors, queue = Floors(["food"]), Queue()
    queue.begin([0])
    for _ in range(20):
        queue.begin([0])
        queue.commit(1)
        queue.waiting.clear()
        queue.look(floors, is_whole=False)
    floors.is_deep = True

    assert json.loads(floors.places(["food"]))[-1]["pos"] <= 1


def test_what_comes_back_is_in_sight_at_once_and_a_paused_queue_stays() -> None:
    floors = Floors(["food"])
    for last in (100, 200, 300):
        paused = [First("food", -(2**31), 0, 7, False)] if last == 100 else [First("food", 0, 0, 7, False)]
        floors.learn(paused, is_whole=last == 100, took_s=1.0, last=last, xmin=last, xmax=last)
    assert json.loads(floors.places(["food"]))[-1]["pos"] == 7

    floors.lower("food", 3)
    assert json.loads(floors.places(["food"]))[-1]["pos"] == 3


def test_more_priorities_than_floors_are_all_in_sight() -> None:
    floors = Floors(["food"])
    floors.learn([], is_whole=True, took_s=1.0, last=0, xmin=1, xmax=1)
    for priority in range(100):
        floors.meet("food", priority)
    places = json.loads(floors.places(["food"]))

    assert len(places) == module.PRIORITIES_MAX
    assert all(any(is_at((-priority, 5), place) for place in places) for priority in range(100))


def test_an_older_database_in_the_place_of_one_begins_anew() -> None:
    floors = Floors(["food"])
    for last in (1000, 1001, 1002):
        floors.learn([], is_whole=last == 1000, took_s=1.0, last=last, xmin=last, xmax=last)
    assert json.loads(floors.places(["food"]))[-1]["pos"] > 1000

    floors.learn([], is_whole=False, took_s=1.0, last=10, xmin=5, xmax=5)
    assert json.loads(floors.places(["food"]))[-1]["pos"] <= 1


def test_no_look_is_put_off_for_long_by_a_clock_that_was_set_meanwhile() -> None:
    floors = Floors(["food"])
    floors.learn([], is_whole=True, took_s=8 * 3600.0, last=0, xmin=1, xmax=1)

    assert 0 < floors.whole_in_s <= 30


# With the database.


@asynccontextmanager
async def held(store: Store) -> AsyncIterator[None]:
    """A snapshot that keeps everything that is deleted meanwhile."""
    import asyncpg

    connection = await asyncpg.connect(store.url.replace("+asyncpg", ""))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetchval("SELECT count(*) FROM toque.job")
            yield
    finally:
        await connection.close()


@pytest.fixture
async def deep(other: Store) -> AsyncIterator[Store]:
    """A store where many jobs have gone and are kept."""
    if other.dialect_name != "postgresql":
        pytest.skip("SQLite keeps nothing that was deleted")
    async with held(other):
        await wait(other, GONE)
        await act(other, "UPDATE toque.job SET state = 1, worker = 1, fence = 1")
        await act(other, "DELETE FROM toque.job")
        yield other


async def wait(store: Store, count: int, *, priority: int = 0) -> None:
    await act(
        store,
        f"""
        INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data)
        SELECT gen_random_uuid(), 'food', 'kitchen.cook', 0, {priority}, clock_timestamp(), '', '{{}}', '[]'
        FROM generate_series(1, {count})
        """,
    )


ONE = """
INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data)
VALUES (gen_random_uuid(), 'food', 'kitchen.cook', {state}, 0, {due}, '{key}', '{{}}', '[]')
"""


async def pages_of(store: Store, table: JobTable) -> int:
    """The pages that a claim of *table* reads."""
    return await pages_read(store, "claim", "food", 5, 1, '["kitchen.cook"]', *table._places("food"))


async def pages_of_look(store: Store, floors: Floors, *, is_whole: bool) -> int:
    places, due_from = floors.places(["food"], is_whole=is_whole), 0.0 if is_whole else floors.due_from
    return await pages_read(store, "look", places, '["kitchen.cook"]', 1, is_whole, due_from)


async def pages_read(store: Store, statement: str, *arguments: Any) -> int:
    sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {getattr(STATEMENTS['postgresql'], statement).sql}"

    class _Undo(Exception):
        pass

    async def run(database: Any) -> None:
        plan = (await transaction_of(database).fetch(Prepared(sql, True), arguments, 0, list))[0][0]
        top = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
        found.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
        raise _Undo

    found: list[int] = []
    with pytest.raises(_Undo):
        await store.command(run)
    return found[0]


def look_whole_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each process look from the beginning when it starts and never again, as far as a test goes."""
    monkeypatch.setattr(module, "SHALLOW_S", -1.0)
    monkeypatch.setattr(module, "SHARE", 1_000_000)
    monkeypatch.setattr(module, "PAUSE_MAX_S", 1_000.0)


async def test_a_claim_does_not_walk_over_what_is_kept(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    await wait(deep, 20)
    whole = await pages_of(deep, table)
    # The first look finds out how deep it is, and the floors are those of what was seen before.
    for _ in range(3):
        await table.look(number)
    assert len(await table.claim("food", 10, number)) == 10
    await table.look(number)

    assert await pages_of(deep, table) < min(200, whole / 2)
    assert len(await table.claim("food", 10, number)) == 10


async def test_jobs_of_all_priorities_are_found_from_the_floors(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    for _ in range(3):
        await table.look(number)
    for priority in (0, 5, -5, 0):
        await wait(deep, 1, priority=priority)

    assert [start.priority for start in await table.claim("food", 10, number)] == [5, 0, 0, -5]


async def test_what_is_given_back_is_found_at_once_by_who_gave_it(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    await wait(deep, 2)
    for _ in range(3):
        await table.look(number)
    first, _ = await table.claim("food", 2, number)
    for _ in range(3):
        await wait(deep, 1)
        await table.claim("food", 1, number)
        await table.look(number)
    assert not await table.claim("food", 1, number)

    await table.settle(again=[Outcome(id=str(first.id), fence=first.fence, refund=1)])

    assert [start.id for start in await table.claim("food", 1, number)] == [first.id]


async def test_what_another_process_gave_back_is_found_by_a_whole_look(deep: Store) -> None:
    mine, its = JobTable(deep, WORKED_ON), JobTable(deep, WORKED_ON)
    number = await mine.number()
    await wait(deep, 1)
    (start,) = await its.claim("food", 1, number)
    for _ in range(3):
        await wait(deep, 1)
        await mine.look(number)
        await mine.claim("food", 1, number)
    await mine.look(number)
    await its.settle(again=[Outcome(id=str(start.id), fence=start.fence, refund=1)])

    async def is_found() -> bool:
        return "food" in (await mine.look(number)).queues

    await until(is_found)
    assert [each.id for each in await mine.claim("food", 1, number)] == [start.id]


async def test_a_whole_look_walks_no_more_often_for_many_priorities(deep: Store) -> None:
    """Else it would take as many times as long, and the next one would come as many times as late."""
    await act(deep, f"{ONE.format(state=0, due='clock_timestamp()', key='table')}")
    few, many = Floors(["food"]), Floors(["food"])
    for priority in range(module.PRIORITIES_MAX):
        many.meet("food", priority)

    assert await pages_of_look(deep, many, is_whole=True) < 1.5 * await pages_of_look(deep, few, is_whole=True)


async def test_a_look_does_not_walk_over_what_was_to_come_later(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    await wait(deep, 20_000)
    await act(deep, "UPDATE toque.job SET state = 2, due = clock_timestamp() - make_interval(secs => 60)")
    await act(deep, "DELETE FROM toque.job")
    for _ in range(3):
        await table.look(number)
    assert table._floors is not None

    whole = await pages_of_look(deep, Floors(["food"]), is_whole=True)
    assert await pages_of_look(deep, table._floors, is_whole=False) < min(200, whole / 2)


async def test_who_finds_none_of_the_jobs_that_it_knows_does_not_walk_for_ever(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    for _ in range(3):
        await table.look(number)

    assert await pages_of(deep, table) < 200


async def test_jobs_that_were_to_come_later_are_found_from_the_floors(deep: Store) -> None:
    table = JobTable(deep, WORKED_ON)
    number = await table.number()
    for _ in range(3):
        await table.look(number)
    await act(deep, ONE.format(state=2, due="clock_timestamp() - make_interval(secs => 1)", key=""))
    view = await table.look(number)
    assert view.whole is None
    assert view.due_s is not None
    assert view.due_s < 0

    await table.promote()

    assert len(await table.claim("food", 10, number)) == 1


@pytest.mark.parametrize("grace_s", [0.0, 1.5])
async def test_who_is_known_to_have_died_is_found_without_another_whole_look(
    deep: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, grace_s: float
) -> None:
    """Where something is always due, each look is followed by a second one that is not whole; and a number has to be
    free for some time, until which no look may be whole any more."""
    import asyncpg

    monkeypatch.setitem(rescue.GRACE_S, "postgresql", grace_s)
    look_whole_once(monkeypatch)
    app, cooked = App("kitchen"), list[int]()

    @app.job(queue="food")
    async def cook(number: int) -> None:
        cooked.append(number)

    late = "clock_timestamp() - make_interval(secs => 1)"
    await act(deep, ONE.format(state=2, due=late, key="").replace("[]", '{"number": 1}'))
    holder = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        await holder.execute("BEGIN; SELECT FROM toque.job FOR UPDATE")
        dead = ONE.format(state=1, due=late, key="").replace("[]", '{"number": 2}')
        await act(deep, dead)
        await act(deep, "UPDATE toque.job SET worker = 999 WHERE state = 1")
        async with running(app, database_url=database_url):
            await until(lambda: cooked)
    finally:
        await holder.close()

    assert cooked == [2]


async def test_an_idle_worker_takes_whole_looks_by_itself(
    deep: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail's probe walks over the same, and is asked seldom where that takes long."""
    monkeypatch.setattr(module, "SHALLOW_S", -1.0)
    monkeypatch.setattr(postgres_wire, "WALK_SHARE", 1_000_000)
    monkeypatch.setattr(postgres_wire, "WALK_PAUSE_MAX_S", 1_000.0)
    app, cooked = App("kitchen"), list[int]()

    @app.job(queue="food")
    async def cook(number: int) -> None:
        cooked.append(number)

    async with running(app, database_url=database_url):
        await asyncio.sleep(0.5)  # nothing is under way any more
        for number in range(3):
            await act(
                deep, ONE.format(state=0, due="clock_timestamp()", key="").replace("[]", f'{{"number": {number}}}')
            )
            await until(lambda number=number: number in cooked)


async def test_a_whole_look_walks_over_what_ran_once(deep: Store) -> None:
    floors = Floors(["food"])
    part = await pages_of_look(deep, floors, is_whole=False)
    what_ran = await pages_read(deep, "held", 1)

    assert what_ran > GONE / 100
    assert await pages_of_look(deep, floors, is_whole=True) - part < 1.5 * what_ran


async def test_a_whole_look_that_is_stopped_is_not_the_only_one(deep: Store) -> None:
    """A server may allow statements less time than it takes."""
    import asyncpg

    store = open_store(f"{deep.url}&statement_timeout=200")
    await store.start()
    holder = await asyncpg.connect(deep.url.replace("+asyncpg", ""))
    try:
        table = JobTable(store, WORKED_ON)
        number = await table.number()
        await holder.execute("BEGIN; LOCK TABLE toque.job_left")
        with pytest.raises(DeadlineExceeded):
            await table.look(number)
        await holder.execute("ROLLBACK")

        assert (await table.look(number)).whole is None
    finally:
        await holder.close()
        await store.stop()


async def test_a_job_that_an_event_wakes_is_in_sight_at_once(
    deep: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_whole_once(monkeypatch)
    monkeypatch.setattr(module, "LOW_S", 0.05)
    app, cooked = App("kitchen"), list[int]()

    class Ripe(Event):
        number: int

    @app.job()
    async def cook(number: int, steps: Steps) -> None:
        if number == 1:
            await steps.wait("ripe", Ripe, key="x")
        cooked.append(number)

    @app.command("/orders", allow=public)
    async def order(number: int, jobs: Jobs) -> None:
        jobs.enqueue(cook, number)

    @app.command("/ripe", allow=public)
    async def ripen(outbox: Outbox) -> None:
        outbox.publish(Ripe(1), key="x")

    async with running(app, database_url=database_url) as kitchen:
        await kitchen.call("kitchen.order", number=1)
        await until(lambda: rows(deep, "SELECT id FROM toque.job WHERE state = 2"))
        for number in range(2, 8):
            await kitchen.call("kitchen.order", number=number)
            await until(lambda number=number: len(cooked) >= number - 1)
            await asyncio.sleep(0.06)
        await kitchen.call("kitchen.ripen")
        await until(lambda: 1 in cooked)


async def test_an_app_works_on_beside_a_long_reader(other: Store, database_url: str) -> None:
    if other.dialect_name != "postgresql":
        pytest.skip("SQLite keeps nothing that was deleted")
    app, cooked = App("kitchen"), list[int]()

    @app.job()
    async def cook(number: int, key: str) -> None:
        cooked.append(number)

    @app.job(priority=3)
    async def hurry(number: int) -> None:
        cooked.append(number)

    @app.command("/orders", allow=public)
    async def order(first: int, jobs: Jobs) -> None:
        jobs.enqueue_many(cook, [(first + at, "") for at in range(100)])
        jobs.enqueue(hurry, first + 100)
        jobs.enqueue(cook, first + 101, "table", key=f"{first % 3}", delay=0.05)

    async with running(app, database_url=database_url) as kitchen, held(other):
        for first in range(0, 10_200, 102):
            await kitchen.call("kitchen.order", first=first)
            while first - len(cooked) > 1000:
                await asyncio.sleep(0.01)
        await until(lambda: len(cooked) >= 10_200)

    assert sorted(cooked) == list(range(10_200))
