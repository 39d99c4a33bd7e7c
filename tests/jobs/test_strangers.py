"""Jobs that nobody finds are named at start."""

from __future__ import annotations

import logging

import pytest

from toque import App, Jobs, public
from toque.messages.jobs.strangers import warn_of_strangers
from toque.settings import Messages, Settings
from toque.testing import running


def post(queue: str, name: str = "send") -> App:
    app = App("post")

    @app.job(queue=queue, name=name)
    async def send() -> None: ...

    @app.command(allow=public)
    async def fill(jobs: Jobs) -> None:
        jobs.enqueue(send)

    return app


async def test_jobs_in_a_queue_that_was_renamed_are_missed(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    idle = Settings(messages=Messages(work=False))
    async with running(post("letters"), settings=idle, database_url=database_url) as harness:
        await harness.call("post.fill")
        store = harness.serving.system.store
        assert store is not None
        assert await warn_of_strangers(store, {"letters": ["post.send"]}) == []
    assert caplog.text == ""

    with caplog.at_level(logging.WARNING):
        async with running(post("parcels"), settings=idle, database_url=database_url):
            pass

    assert "jobs wait in the queue 'letters', and no job of this release is in it" in caplog.text


async def test_jobs_that_were_renamed_are_missed(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """They waited in silence: their queue is known, and no process takes what it has no name for."""
    idle = Settings(messages=Messages(work=False))
    async with running(post("letters"), settings=idle, database_url=database_url) as harness:
        await harness.call("post.fill")

    with caplog.at_level(logging.WARNING):
        async with running(post("letters", "dispatch"), settings=idle, database_url=database_url):
            pass

    assert "jobs 'post.send' wait in the queue 'letters', and this release has none of that name there" in caplog.text
    assert "give it `name='send'`" in caplog.text
