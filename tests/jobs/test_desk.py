"""People see the jobs of a database, and do with them what is to be done."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from job_looks import is_empty, rows, until

from toque import App, GiveUp, Jobs, public
from toque.messages.jobs.desk import Desk
from toque.settings import Messages, Settings
from toque.store import Store
from toque.store.database import transaction_of
from toque.testing import running

T = TypeVar("T")

SILENT = Settings(messages=Messages(work=False))


def shop() -> tuple[App, list[str]]:
    app, done = App("shop"), list[str]()

    @app.job(queue="mail")
    async def send(to: str) -> None:
        done.append(to)
        if to == "nobody" and len(done) < 3:
            raise GiveUp("no such box")

    @app.command(allow=public)
    async def ask(to: str, jobs: Jobs, delay: float = 0) -> str:
        return str(jobs.enqueue(send, to, delay=delay, key=to))

    return app, done


async def at(store: Store, act: Any) -> Any:
    async def run(database: Any) -> Any:
        return await act(Desk(transaction_of(database), store.dialect_name))

    return await store.command(run)


async def test_jobs_and_queues_are_listed(database_url: str, other: Store) -> None:
    app, _ = shop()
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        for number in range(3):
            await harness.call("shop.ask", to=f"n{number}")
        await harness.call("shop.ask", to="later", delay=100)

    (queue,) = await at(other, lambda desk: desk.queues())
    listed = await at(other, lambda desk: desk.jobs())
    waiting = await at(other, lambda desk: desk.jobs(state="waiting", queue="mail", limit=2))

    assert (queue.name, queue.waiting, queue.running, queue.later, queue.dead) == ("mail", 3, 0, 1, 0)
    assert [(one.state, one.key) for one in listed] == [
        ("waiting", "n0"), ("waiting", "n1"), ("waiting", "n2"), ("later", "later"),
    ]  # fmt: skip
    assert 90 < listed[-1].due_s <= 100
    assert len(waiting) == 2
    assert await at(other, lambda desk: desk.jobs(queue="other")) == []


async def test_a_dead_letter_is_done_after_all_or_forgotten(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        first, second = [UUID(await harness.call("shop.ask", to="nobody")) for _ in range(2)]
        await until(lambda: _count_dead(other, 2))
        assert [one.state for one in await at(other, lambda desk: desk.jobs())] == ["dead", "dead"]

        assert await at(other, lambda desk: desk.retry(first))
        assert await at(other, lambda desk: desk.discard(second))
        assert not await at(other, lambda desk: desk.discard(second))
        await until(lambda: is_empty(other))

    assert done == ["nobody"] * 3
    assert await rows(other, "SELECT id FROM toque.job_dead") == []


async def test_what_is_to_come_later_can_come_now(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        id = UUID(await harness.call("shop.ask", to="ada", delay=1000))
        assert await at(other, lambda desk: desk.retry(id))
        await until(lambda: done)


async def test_nothing_of_a_paused_queue_begins(database_url: str, other: Store) -> None:
    app, done = shop()
    async with running(app, database_url=database_url) as harness:
        await at(other, lambda desk: desk.pause("mail", is_paused=True))
        await harness.call("shop.ask", to="ada")
        # Another look of the worker's, at least.
        looks = harness.serving.system.messages.tail.looks  # type: ignore[union-attr]
        await until(lambda: harness.serving.system.messages.tail.looks > looks + 2)  # type: ignore[union-attr]
        assert done == []

        await at(other, lambda desk: desk.pause("mail", is_paused=False))
        await until(lambda: done)


async def _count_dead(store: Store, count: int) -> bool:
    return len(await rows(store, "SELECT id FROM toque.job_dead")) == count
