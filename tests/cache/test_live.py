"""What followers are sent: every change in the end, nothing twice, nothing from before."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
from kitchen_of_callers import Dish, make_app
from sqlalchemy import func, select

from live_shop import ANA, BANNED, BO, Jar, JarView, LetterView, app, runs, settle
from toque import App, Database, public
from toque.cache.live import Live
from toque.contract.errors import Forbidden, Overloaded, Unavailable, Unimplemented
from toque.settings import Cache, Settings
from toque.settings import Live as Limits
from toque.store.sqlite import path_of
from toque.testing import Harness, running
from toque.testing.postgres import PrivatePostgres

SHELF = "shop.shelf"

TABLES = [table.name for table in Jar.metadata.sorted_tables]

KEYS = 2_000
"""Ten thousand take the test ten times as long as it needs to fail."""


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Harness]:
    """The shop in memory, once on each database."""
    BANNED.clear()
    async with running(app, database_url="" if database_url.startswith("sqlite") else database_url) as harness:
        yield harness


@pytest.fixture
def live(shop: Harness) -> Live:
    assert shop.serving.system.live is not None
    return shop.serving.system.live


async def until(states: AsyncIterator[Any], wanted: Any) -> list[Any]:
    """The states up to the one that is *wanted*."""
    seen: list[Any] = []
    async for state in states:
        seen.append(state)
        if state == wanted:
            return seen
    raise AssertionError(seen)


async def test_the_answer_comes_at_once_and_again_when_it_changes(shop: Harness) -> None:
    async with shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == []

        jar = await shop.call("shop.fill", shelf=1, content="plums")
        assert await anext(states) == [JarView(jar.id, "plums")]

        await shop.call("shop.refill", id=jar.id, content="figs")
        assert await anext(states) == [JarView(jar.id, "figs")]


async def test_who_follows_what_cannot_be_followed_any_more_is_told_so_at_once(database_url: str) -> None:
    async with running(make_app(), database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        async with kitchen.live("kitchen.draw") as states:
            assert await anext(states) is None

            await kitchen.call("kitchen.set_price", id=1, price=100)
            with pytest.raises(Unimplemented, match="random"):
                async with asyncio.timeout(20):
                    await anext(states)


@pytest.mark.parametrize(("off", "why"), [(["jar"], "changes of jar are not told"), (TABLES, "not live now")])
async def test_who_follows_what_is_not_told_of_now_comes_back_when_it_is(
    postgres: PrivatePostgres, off: list[str], why: str
) -> None:
    """It ended with 501, which says that it never could."""
    url = postgres.create_database()
    async with running(app, database_url=url) as shop:
        async with shop.live(SHELF, shelf=1) as states:
            assert await anext(states) == []

            await write_by_hand(shop, ";".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in off))
            with pytest.raises(Unavailable, match=why) as ended:
                async with asyncio.timeout(60):
                    await anext(states)
            assert ended.value.retry_after_s
        with pytest.raises(Unavailable, match="not live now"):
            async with shop.live(SHELF, shelf=1):
                pass

        events = ("insert", "update", "delete", "truncate")
        for table, event in product(off, events):
            await write_by_hand(shop, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER toque_change_{event}")
        async with asyncio.timeout(60):
            await _until_live(shop)
    postgres.drop_database(url)


async def _until_live(shop: Harness) -> None:
    while True:
        try:
            async with shop.live(SHELF, shelf=1) as states:
                assert await anext(states) == []
                return
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_row_that_moves_out_is_seen_to_leave(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as here, shop.live(SHELF, shelf=2) as there:
        assert await anext(here) == [JarView(jar.id, "plums")]
        assert await anext(there) == []

        await shop.call("shop.move", id=jar.id, shelf=2)

        assert await anext(here) == []
        assert await anext(there) == [JarView(jar.id, "plums")]


async def test_an_equal_answer_is_not_sent(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as states:
        await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)

        await shop.call("shop.refill", id=jar.id, content="plums")
        await settle(shop)
        assert runs(shop, SHELF) == before + 1
        await shop.call("shop.refill", id=jar.id, content="figs")

        assert await anext(states) == [JarView(jar.id, "figs")]


async def test_of_a_burst_of_commits_the_last_is_seen_and_few_are_run(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="0")
    async with shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == [JarView(jar.id, "0")]
        before = runs(shop, SHELF)
        for _ in range(10):
            await asyncio.gather(*(shop.call("shop.count", id=jar.id) for _ in range(100)))

        seen = await until(states, [JarView(jar.id, "1000")])

        numbers = [int(state[0].content) for state in seen]
        assert numbers == sorted(set(numbers)), "never backwards, nothing twice"
        assert runs(shop, SHELF) - before <= 1000


async def test_ten_thousand_followers_of_one_answer_cost_one_query(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    live = shop.serving.system.live
    assert live is not None
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(shop.live(SHELF, shelf=1)) for _ in range(10_000)]
        for states in followers:
            await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)
        assert (live.subscriptions, live.topics) == (10_000, 1)

        await shop.call("shop.refill", id=jar.id, content="figs")
        for states in followers:
            assert await anext(states) == [JarView(jar.id, "figs")]

        assert runs(shop, SHELF) - before == 1
    assert (live.subscriptions, live.topics) == (0, 0)


async def test_of_many_answers_only_the_changed_one_is_found_out(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=77, content="plums")
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(shop.live(SHELF, shelf=shelf)) for shelf in range(KEYS)]
        for states in followers:
            await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)

        await shop.call("shop.refill", id=jar.id, content="figs")
        assert await anext(followers[77]) == [JarView(jar.id, "figs")]

        assert runs(shop, SHELF) - before == 1


async def test_who_does_not_look_finds_the_newest_state_alone(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as states:
        await anext(states)

        for content in ("figs", "nuts", "pears"):
            await shop.call("shop.refill", id=jar.id, content=content)
            await settle(shop)

        assert await anext(states) == [JarView(jar.id, "pears")]


async def test_a_state_that_came_and_went_unseen_is_not_sent(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live(SHELF, shelf=1) as states:
        await anext(states)

        for content in ("figs", "plums"):
            await shop.call("shop.refill", id=jar.id, content=content)
            await settle(shop)
        await shop.call("shop.refill", id=jar.id, content="pears")

        assert await anext(states) == [JarView(jar.id, "pears")]


async def test_a_permission_that_is_a_row_is_followed_too(shop: Harness) -> None:
    await shop.call("shop.write", text="secret")
    await shop.call("shop.enrol", subject="ana")
    async with (
        shop.live("shop.letters", principal=ANA) as hers,
        shop.live("shop.letters", principal=BO) as his,
    ):
        assert (await anext(hers), await anext(his)) == ([LetterView("secret")], [])

        await shop.call("shop.expel", subject="ana")
        assert await anext(hers) == []

        await shop.call("shop.enrol", subject="bo")
        assert await anext(his) == [LetterView("secret")]


async def test_callers_who_shared_an_answer_part_when_it_asks_who_they_are(shop: Harness, live: Live) -> None:
    await shop.call("shop.write", text="secret")
    await shop.call("shop.enrol", subject="ana")
    async with shop.live("shop.board", principal=ANA) as hers, shop.live("shop.board", principal=BO) as his:
        assert (await anext(hers), await anext(his)) == ([], [])
        assert live.topics == 1

        await shop.call("shop.fill", shelf=9, content="key")
        assert await anext(hers) == [LetterView("secret")]
        await settle(shop)
        assert live.topics == 2

        await shop.call("shop.expel", subject="ana")
        await shop.call("shop.enrol", subject="bo")
        assert (await anext(hers), await anext(his)) == ([], [LetterView("secret")])


async def test_what_befalls_a_run_is_tried_again(shop: Harness, live: Live) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with shop.live("shop.tested", id=jar.id) as states:
        assert await anext(states) == JarView(jar.id, "plums")
        before = runs(shop, "shop.tested")

        await shop.call("shop.refill", id=jar.id, content="broken")
        while runs(shop, "shop.tested") < before + 2:
            await asyncio.sleep(0.01)
        await shop.call("shop.refill", id=jar.id, content="mended")

        assert await anext(states) == JarView(jar.id, "mended")


@asynccontextmanager
async def both_following(shop: Harness) -> AsyncIterator[tuple[AsyncIterator[Any], AsyncIterator[Any]]]:
    """What Ana and Bo are sent of one shelf, after its first state."""
    async with (
        shop.live("shop.kept", shelf=1, principal=ANA) as hers,
        shop.live("shop.kept", shelf=1, principal=BO) as his,
    ):
        await anext(hers)
        await anext(his)
        yield hers, his


async def test_who_is_kept_out_ends_and_the_others_go_on(shop: Harness, live: Live) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with both_following(shop) as (hers, his):
        assert live.topics == 1, "who may look does not change what is seen"

        BANNED.add("ana")
        await shop.call("shop.refill", id=jar.id, content="figs")

        with pytest.raises(Forbidden):
            await anext(hers)
        assert await anext(his) == [JarView(jar.id, "figs")]


async def test_what_is_followed_is_counted(shop: Harness) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="plums")
    async with both_following(shop):
        before = await _figures(shop)
        await shop.call("shop.refill", id=jar.id, content="figs")
        await settle(shop)
        BANNED.add("ana")
        await shop.call("shop.refill", id=jar.id, content="pears")
        await settle(shop)
        after = await _figures(shop)
    left = await _figures(shop)

    assert (before["subscriptions"], before["answers"]) == (2, 1)
    assert before["bytes"] > 0
    assert after["runs_total"] - before["runs_total"] == 2
    # Both are given the first state, and one the second.
    assert after["states_total"] - before["states_total"] == 3
    assert after['ended_total{code="forbidden"}'] == 1
    assert (left["subscriptions"], left["answers"], left["bytes"]) == (0, 0, 0)
    assert set(left) >= {"runs_total", "states_total"}


async def _figures(shop: Harness) -> dict[str, float]:
    lines = (await shop.get("/metrics")).text.splitlines()
    split = (line.removeprefix("toque_live_").rpartition(" ") for line in lines if line.startswith("toque_live_"))
    return {name: float(value) for name, _, value in split}


async def test_there_is_room_for_so_many(database_url: str) -> None:
    settings = Settings(live=Limits(subscriptions_max=2))
    async with running(app, settings=settings, database_url=database_url) as shop, AsyncExitStack() as stack:
        for shelf in (1, 2):
            await stack.enter_async_context(shop.live(SHELF, shelf=shelf))

        with pytest.raises(Overloaded) as refused:
            async with shop.live(SHELF, shelf=3):
                pass

        assert refused.value.retry_after_s


async def test_answers_that_are_followed_have_room_of_their_own(database_url: str) -> None:
    settings = Settings(cache=Cache(bytes_max=20_000), live=Limits(bytes_max=40_000))
    async with running(app, settings=settings, database_url=database_url) as shop, AsyncExitStack() as stack:
        cache = shop.serving.system.cache
        assert cache is not None
        jar = await shop.call("shop.fill", shelf=1, content="x" * 15_000)
        states = await stack.enter_async_context(shop.live(SHELF, shelf=1))
        await anext(states)
        await settle(shop)
        before = runs(shop, SHELF)
        for shelf in range(2, 50):
            await shop.call(SHELF, shelf=shelf)
        assert cache.entries.evicted > 0

        await shop.call("shop.refill", id=jar.id, content="y" * 15_000)
        assert await anext(states) == [JarView(jar.id, "y" * 15_000)]
        await settle(shop)

        assert runs(shop, SHELF) - before == 48 + 1, "too large for the cache, and found out once all the same"
        assert cache.entries.bytes <= 20_000
        await shop.call("shop.fill", shelf=2, content="x" * 15_000)
        await stack.enter_async_context(shop.live(SHELF, shelf=2))
        await shop.call("shop.fill", shelf=3, content="x" * 15_000)
        await stack.enter_async_context(shop.live(SHELF, shelf=3))
        await settle(shop)
        with pytest.raises(Overloaded):
            async with shop.live(SHELF, shelf=4):
                pass
    assert cache.entries.held_bytes == 0


async def test_whoever_comes_and_goes_at_any_moment_leaves_nothing_behind(shop: Harness, live: Live) -> None:
    jar = await shop.call("shop.fill", shelf=1, content="0")
    choose = Random(7)

    async def visit() -> None:
        last = -1
        async with shop.live(SHELF, shelf=1) as states:
            for _ in range(choose.randrange(3)):
                count = int((await anext(states))[0].content)
                assert count > last
                last = count

    async def write() -> None:
        for _ in range(100):
            await shop.call("shop.count", id=jar.id)
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    visits = [asyncio.create_task(visit()) for _ in range(200)]
    for each in visits[::7]:
        await asyncio.sleep(0)
        each.cancel()
    await writing
    # The last may still wait for a change.
    keeping_on = asyncio.create_task(_count_on(shop, jar.id))
    results = await asyncio.gather(*visits, return_exceptions=True)
    keeping_on.cancel()
    await asyncio.gather(keeping_on, return_exceptions=True)

    assert {type(each) for each in results} <= {type(None), asyncio.CancelledError}
    cache = shop.serving.system.cache
    assert cache is not None
    assert (live.subscriptions, live.topics, cache.entries.held_bytes) == (0, 0, 0)


async def _count_on(shop: Harness, id: int) -> None:
    while True:
        await shop.call("shop.count", id=id)
        await asyncio.sleep(0.01)


async def test_a_stop_ends_all_with_a_hint(shop: Harness, live: Live) -> None:
    async with shop.live(SHELF, shelf=1) as states:
        await anext(states)

        await live.stop()

        with pytest.raises(Unavailable) as ended:
            await anext(states)
        assert ended.value.retry_after_s
        with pytest.raises(Unavailable):
            async with shop.live(SHELF, shelf=1):
                pass


@pytest.mark.parametrize(
    ("operation", "why"),
    [("shop.fill", "this is a command"), ("shop.ticks", "it asks for no Database"), ("shop.whole", "cached=False")],
)
async def test_what_cannot_be_followed_says_why(shop: Harness, operation: str, why: str) -> None:
    inputs: dict[str, Any] = {"shelf": 1, "content": ""} if operation == "shop.fill" else {}
    with pytest.raises(Unimplemented, match=why):
        async with shop.live(operation, **inputs):
            pass


async def test_who_has_said_what_is_read_is_not_told_to_say_it() -> None:
    pantry = App("pantry", metadata=Dish.metadata)

    @pantry.query("/raw", allow=public, reads=[Dish], media_type="image/png")
    async def raw(db: Database) -> bytes:
        return b""

    @pantry.query("/dishes", allow=public)
    async def list_dishes(db: Database) -> list[int]:
        return await db.all(int, select(Dish.id))

    async with running(pantry) as harness:
        with pytest.raises(Unimplemented, match=r"bytes as they are$"):
            async with harness.live("pantry.raw"):
                pass


async def test_one_answer_that_cannot_be_kept_ends_no_other(database_url: str) -> None:
    pantry = App("pantry", metadata=Dish.metadata)

    @pantry.query("/power", allow=public)
    async def power(n: int, db: Database) -> int:
        return 2 ** (n + await db.scalar(select(func.count()).select_from(Dish)))

    async with running(pantry, database_url=database_url) as harness:
        for status in ("toque; fwd=miss", "toque; fwd=bypass"):
            answer = await harness.get("/power?n=70")
            assert (answer.json(), answer.headers["cache-status"]) == (2**70, status)
        with pytest.raises(Unimplemented, match="not live for these inputs"):
            async with harness.live("pantry.power", n=70):
                pass
        async with harness.live("pantry.power", n=3) as states:
            assert await anext(states) == 8
        assert (await harness.get("/power?n=3")).headers["cache-status"] == "toque; hit"


async def test_a_commit_whose_process_was_killed_before_it_could_tell_is_seen(postgres: PrivatePostgres) -> None:
    url = postgres.create_database()
    async with running(app, database_url=url) as shop, shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == []

        killed = await asyncio.create_subprocess_exec(sys.executable, str(KILLED), url)

        assert await killed.wait() == -signal.SIGKILL
        assert [jar.content for jar in await anext(states)] == ["plums"]
    postgres.drop_database(url)


async def test_a_commit_by_hand_is_seen(shop: Harness) -> None:
    async with shop.live(SHELF, shelf=1) as states:
        assert await anext(states) == []

        await write_by_hand(shop, "INSERT INTO jar (shelf, content) VALUES (1, 'plums')")

        assert [jar.content for jar in await anext(states)] == ["plums"]


KILLED = Path(__file__).with_name("killed_writer.py")


async def write_by_hand(shop: Harness, sql: str) -> None:
    """Change the database as somebody would who knows nothing of the app."""
    store = shop.serving.system.store
    assert store is not None
    if store.dialect_name == "sqlite":
        with sqlite3.connect(str(path_of(store.url))) as connection:
            connection.execute(sql)
        connection.close()
    else:
        connection = await asyncpg.connect(store.url)
        await connection.execute(sql)
        await connection.close()
