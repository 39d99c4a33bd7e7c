"""A job can be followed, and cancelled; its steps are taken once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from job_looks import act, is_empty, rows, until
from sqlalchemy import text

from toque import AllRows, App, Delivery, Jobs, JobStatus, Progress, Retries, Steps, public
from toque.contract.complaints import SetupError
from toque.messages.jobs.book import RESULT_BYTES_MAX
from toque.messages.jobs.status import FOLLOW_S
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import running

SILENT = Settings(messages=Messages(work=False))


def desk() -> tuple[App, list[Any], asyncio.Event]:
    app, done, gate = App("desk"), list[Any](), asyncio.Event()

    @app.job()
    async def count(upto: int, progress: Progress) -> int:
        await progress(1, upto, "one")
        await gate.wait()
        await progress(upto, upto)
        return upto * 2

    @app.job()
    async def write(name: str, db: AllRows) -> None:
        await gate.wait()
        await db.execute(text("INSERT INTO done (name) VALUES (:name)"), {"name": name})

    async def charge(name: str, delivery: Delivery) -> str:
        done.append((name, delivery.idempotency_key.partition("/")[0], delivery.step))
        return name.upper()

    async def book(name: str, db: AllRows) -> list[int]:
        await db.execute(text("INSERT INTO done (name) VALUES (:name)"), {"name": name})
        return [1, 2]

    @app.job(retries=Retries(first_s=0.01))
    async def flow(name: str, steps: Steps, delivery: Delivery) -> str:
        receipt = await steps.run("charge", charge, name)
        if delivery.attempt < 3:
            raise ValueError("again")
        numbers = await steps.run("book", book, receipt)
        await steps.sleep("rest", 0.2)
        done.append((receipt, numbers, delivery.attempt))
        return receipt

    @app.job(retries=Retries(first_s=0.01))
    async def changed(steps: Steps, delivery: Delivery) -> None:
        await steps.run("first" if delivery.attempt == 1 else "other", charge, "x")
        raise ValueError("again")

    @app.command(allow=public)
    async def ask(job: str, jobs: Jobs) -> str:
        if job == "changed":
            return str(jobs.enqueue(changed))
        return str(jobs.enqueue(count, 4) if job == "count" else jobs.enqueue({"write": write, "flow": flow}[job], job))

    @app.query(allow=public)
    async def status(id: UUID, jobs: Jobs) -> JobStatus | None:
        return await jobs.status(id)

    @app.query(allow=public)
    async def follow(id: UUID, jobs: Jobs) -> AsyncIterator[JobStatus]:
        await jobs.status(id)  # Its own snapshot is of this moment.
        async for state in jobs.follow(id):
            yield state

    @app.command(allow=public)
    async def cancel(id: UUID, jobs: Jobs) -> bool:
        return await jobs.cancel(id)

    return app, done, gate


async def test_a_job_says_how_far_it_is_and_what_came_of_it(database_url: str) -> None:
    app, _, gate = desk()
    async with running(app, database_url=database_url) as harness:
        id = await harness.call("desk.ask", job="count")

        async def seen(**wanted: Any) -> JobStatus | None:
            found = await harness.call("desk.status", id=id)
            is_so = found is not None and all(getattr(found, name) == value for name, value in wanted.items())
            return found if is_so else None

        async def has_progress() -> Any:
            found = await seen(state="running")
            return found and found.progress

        progress = await until(has_progress)
        gate.set()
        over = await until(lambda: seen(state="done"))
        nothing = await harness.call("desk.status", id=UUID(int=1))

    assert (progress.done, progress.total, progress.note) == (1, 4, "one")
    assert over.result == 8
    assert nothing is None


async def test_a_job_is_followed_until_it_is_over(database_url: str) -> None:
    app, _, gate = desk()
    async with running(app, database_url=database_url) as harness:
        id = await harness.call("desk.ask", job="count")
        following = asyncio.create_task(harness.call("desk.follow", id=id))

        async def has_begun() -> bool:
            return bool((await harness.call("desk.status", id=id)).progress)

        await until(has_begun)
        await asyncio.sleep(2 * FOLLOW_S)
        gate.set()
        states = await following
        nothing = await harness.call("desk.follow", id=UUID(int=1))

    assert next(state.progress.note for state in states if state.progress is not None) == "one"
    assert (states[-1].state, states[-1].result) == ("done", 8)
    assert all(one != next for one, next in pairwise(states))
    assert nothing == []


async def test_what_waits_is_cancelled_at_once(database_url: str, other: Store) -> None:
    app, _, _ = desk()
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        id = await harness.call("desk.ask", job="write")
        assert await harness.call("desk.cancel", id=id)
        assert not await harness.call("desk.cancel", id=id)
        assert (await harness.call("desk.status", id=id)).state == "cancelled"

    assert await rows(other, "SELECT id FROM toque.job") == []


async def test_what_runs_is_stopped_and_undone(database_url: str, other: Store) -> None:
    app, _, _ = desk()
    await act(other, "CREATE TABLE done (name text)")
    async with running(app, database_url=database_url) as harness:
        id = await harness.call("desk.ask", job="write")
        await until(lambda: rows(other, "SELECT id FROM toque.job WHERE state = 1"))
        assert await harness.call("desk.cancel", id=id)

        async def is_over() -> bool:
            return (await harness.call("desk.status", id=id)).state == "cancelled"

        await until(is_over)

    assert await rows(other, "SELECT name FROM done") == []


async def test_a_step_is_taken_once_whatever_becomes_of_the_job(database_url: str, other: Store) -> None:
    app, done, _ = desk()
    await act(other, "CREATE TABLE done (name text)")
    async with running(app, database_url=database_url) as harness:
        await harness.call("desk.ask", job="flow")
        await until(lambda: len(done) == 2)
        await until(lambda: rows(other, "SELECT id FROM toque.job_result WHERE outcome = 'done'"))

    assert done == [("flow", "desk.flow", 1), ("FLOW", [1, 2], 3)]
    assert await rows(other, "SELECT name FROM done") == [("FLOW",)]
    assert await rows(other, "SELECT job FROM toque.job_step") == []


async def test_the_steps_of_a_job_outlive_a_start_of_it_that_counts_no_more(database_url: str, other: Store) -> None:
    """Its end changed nothing, but took the steps along, and the start that counted took them again."""
    app, taken, gate = App("desk"), list[int](), asyncio.Event()

    async def charge(attempt: int) -> int:
        taken.append(attempt)
        return attempt

    @app.job()
    async def order(steps: Steps, delivery: Delivery) -> int:
        paid = await steps.run("charge", charge, delivery.attempt)
        if len(taken) == 1 and not gate.is_set() and delivery.attempt == 1:
            await gate.wait()
            return paid
        gate.set()
        await steps.sleep("let the first one end", 0.5)
        return paid

    @app.command(allow=public)
    async def place(jobs: Jobs) -> None:
        jobs.enqueue(order)

    async with running(app, database_url=database_url) as harness:
        await harness.call("desk.place")
        await until(lambda: taken)
        await until(lambda: rows(other, "SELECT job FROM toque.job_step"))
        # As if its process had been frozen, and taken for dead.
        await act(other, "UPDATE toque.job SET state = 0, worker = NULL")
        await until(lambda: is_empty(other))

    assert taken == [1]
    assert await rows(other, "SELECT result FROM toque.job_result") == [("1",)]
    assert await rows(other, "SELECT job FROM toque.job_step") == []


async def test_a_job_that_takes_other_steps_than_before_fails_loudly(database_url: str, other: Store) -> None:
    app, _, _ = desk()
    async with running(app, database_url=database_url) as harness:
        await harness.call("desk.ask", job="changed")
        (dead,) = await until(lambda: rows(other, "SELECT reason FROM toque.job_dead"))

    assert "step 1 was 'first'" in dead[0]


def test_a_job_with_steps_is_no_transaction_itself() -> None:
    app = App("wrong")

    @app.job()
    async def both(steps: Steps, db: AllRows) -> None: ...

    with pytest.raises(SetupError, match="transactions of their own"):
        app.serve()


@pytest.mark.parametrize("kind", ["plain", "transaction", "step"])
async def test_what_is_too_large_to_be_kept_is_no_result(database_url: str, other: Store, kind: str) -> None:
    """A hundred megabytes were written, and read by each look at the job: nobody else got a turn meanwhile."""
    app, begun = App("desk"), list[str]()
    text = "x" * RESULT_BYTES_MAX

    async def large() -> str:
        begun.append("step")
        return text

    @app.job()
    async def plain() -> str:
        begun.append("plain")
        return text

    @app.job()
    async def transaction(db: AllRows) -> str:
        begun.append("transaction")
        return text

    @app.job()
    async def step(steps: Steps) -> None:
        await steps.run("large", large)

    @app.command(allow=public)
    async def begin(jobs: Jobs) -> None:
        jobs.enqueue({"plain": plain, "transaction": transaction, "step": step}[kind])

    async with running(app, database_url=database_url) as harness:
        await harness.call("desk.begin")
        ((reason,),) = await until(lambda: rows(other, "SELECT reason FROM toque.job_dead"))

    assert f"{RESULT_BYTES_MAX + 2} bytes, and at most {RESULT_BYTES_MAX} are kept" in reason
    assert begun == [kind]
