"""A queue whose jobs nobody finds is named at start."""

from __future__ import annotations

import logging

import pytest

from toque import App, Jobs, public
from toque.messages.jobs.strangers import warn_of_strangers
from toque.settings import Messages, Settings
from toque.testing import running


def post(queue: str) -> App:
    app = App("post")

    @app.job(queue=queue)
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
        assert await warn_of_strangers(store, ["letters"]) == []
    assert caplog.text == ""

    with caplog.at_level(logging.WARNING):
        async with running(post("parcels"), settings=idle, database_url=database_url):
            pass

    assert "jobs wait in the queue 'letters', and no job of this release is in it" in caplog.text
