"""An app moves to another database with its events and jobs: nothing is lost, and nothing is handled twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bells import HEARD, bells, heard, metadata, rows_of, silent, store_of, until
from sqlalchemy import insert

from toque import App, Database, Event, Jobs, Outbox, Steps, public
from toque.messages.moving import Luggage
from toque.settings import Messages, Settings
from toque.store.moving.copy import Copied, copy
from toque.store.moving.site import MovingError
from toque.testing import Harness, running

SILENT = Settings(messages=Messages(work=False))


class Answered(Event):
    number: int


def tower() -> App:
    """The bells, and jobs that write down what they are asked to."""
    app = bells(silent)

    async def write(number: int, db: Database) -> None:
        await db.execute(insert(HEARD), {"who": "job", "bell": "", "number": number})

    @app.job()
    async def note(number: int, db: Database) -> None:
        await write(number, db)

    @app.job()
    async def ask_back(number: int, steps: Steps) -> None:
        await steps.run("one", write, number)
        answered = await steps.wait("answer", Answered, key=number)
        assert answered is not None
        await steps.run("two", write, answered.number)

    @app.command(allow=public)
    async def enqueue(number: int, jobs: Jobs, delay: float = 0, key: str = "") -> None:
        jobs.enqueue(note, number, delay=delay, key=key)

    @app.command(allow=public)
    async def enqueue_steps(number: int, jobs: Jobs) -> None:
        jobs.enqueue(ask_back, number)

    @app.command(allow=public)
    async def answer(key: int, number: int, outbox: Outbox) -> None:
        outbox.publish(Answered(number), key=key)

    return app


async def brought(source: str, target: str, folder: Path) -> Copied:
    return await copy(source, target, metadata, folder, along=Luggage(source, target))


async def numbers(harness: Harness, who: str) -> list[int]:
    return sorted(await heard(store_of(harness), who))


async def test_everything_goes_on_where_it_was(database_url: str, target_url: str, tmp_path: Path) -> None:
    app = tower()
    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
        await harness.call("bells.enqueue", number=1)
        await harness.call("bells.enqueue_steps", number=70)
        await harness.settle()

        async def is_noted() -> bool:
            return await numbers(harness, "job") == [1, 70]

        await until(is_noted)

        async def waits() -> bool:
            return await rows_of(store_of(harness), "SELECT state FROM toque.job") == [(2,)]

        await until(waits)
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[4, 5], bell="door")
        for number in (2, 3):
            await harness.call("bells.enqueue", number=number, key="k")
        await harness.call("bells.enqueue", number=4, delay=1000)
        await harness.call("bells.answer", key=70, number=71)

    result = await brought(database_url, target_url, tmp_path)

    assert result.behind == []
    assert (result.along["event"], result.along["job"]) == (6, 4)
    async with running(app, database_url=target_url) as harness:

        async def is_done() -> bool:
            return await numbers(harness, "job") == [1, 2, 3, 70, 71]

        await until(is_done)
        await harness.settle()
        assert await heard(store_of(harness)) == [1, 2, 3, 4, 5]
        await harness.call("bells.ring", numbers=[6], bell="door")
        await harness.call("bells.enqueue", number=5)
        await harness.settle()
        assert await heard(store_of(harness)) == [1, 2, 3, 4, 5, 6]

        async def is_rest_done() -> bool:
            return await numbers(harness, "job") == [1, 2, 3, 5, 70, 71]

        await until(is_rest_done)
        assert await rows_of(store_of(harness), "SELECT state FROM toque.job") == [(2,)]


async def test_what_is_published_meanwhile_is_told(
    database_url: str, target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = bells(silent)
    async with running(app, settings=SILENT, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        bring = Luggage.bring

        async def bring_and_ring(self: Any) -> Any:
            rows = await bring(self)
            await harness.call("bells.ring", numbers=[2])
            return rows

        monkeypatch.setattr(Luggage, "bring", bring_and_ring)
        assert (await brought(database_url, target_url, tmp_path)).behind == ["events and jobs"]
        monkeypatch.undo()
        assert (await brought(database_url, target_url, tmp_path)).behind == []
    async with running(app, database_url=target_url) as harness:
        await harness.settle()
        assert sorted(await heard(store_of(harness))) == [1, 2]


async def test_nothing_is_brought_where_there_is_something(database_url: str, target_url: str, tmp_path: Path) -> None:
    app = bells(silent)
    for url in (database_url, target_url):
        async with running(app, settings=SILENT, database_url=url) as harness:
            await harness.call("bells.ring", numbers=[1])

    with pytest.raises(MovingError, match="events and jobs"):
        await brought(database_url, target_url, tmp_path)
