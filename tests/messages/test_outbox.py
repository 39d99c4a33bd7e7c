"""What a command publishes exists if the command is committed, says who published it, and keeps to its limits."""

from __future__ import annotations

import pytest
from msgspec import structs

from toque import App, Conflict, Event, Outbox, Principal, public
from toque.contract.complaints import SetupError
from toque.log.cursor import BEGINNING
from toque.messages.outbox import DATA_BYTES_MAX, KEY_CHARS_MAX
from toque.settings import Database, Secret, Settings
from toque.testing import Harness, running


class Rung(Event):
    __version__ = 3
    table: int
    words: str = ""


def bells() -> App:
    app = App("bells")

    @app.command(allow=public)
    async def ring(table: int, outbox: Outbox, words: str = "") -> None:
        outbox.publish(Rung(table, words), key=table)
        if table == 13:
            raise Conflict("no such table")

    @app.command(allow=public)
    async def ring_long(key: str, outbox: Outbox) -> None:
        outbox.publish(Rung(1), key=key)

    @app.command(allow=public)
    async def ring_unkeyed(outbox: Outbox) -> None:
        outbox.publish(Rung(1), key=None)  # type: ignore[arg-type]

    return app


async def entries(harness: Harness) -> list[object]:
    messages = harness.serving.system.messages
    assert messages is not None
    return list((await messages.reader.read(BEGINNING))[0])


async def test_an_event_is_there_if_its_command_is_committed(database_url: str) -> None:
    async with running(bells(), database_url=database_url) as harness:
        await harness.call("bells.ring", table=4, words="soup")
        with pytest.raises(Conflict):
            await harness.call("bells.ring", table=13)

        (entry,) = await entries(harness)

    assert (entry.type, entry.version, entry.key) == ("Rung", 3, "4")  # type: ignore[attr-defined]
    assert entry.data == b'{"table":4,"words":"soup"}'  # type: ignore[attr-defined]


async def test_an_event_says_on_whose_behalf_it_was_published(database_url: str) -> None:
    waiter = Principal(subject="ada", tenant="left", roles=frozenset({"waiter", "cook"}))
    async with running(bells(), database_url=database_url) as harness:
        await harness.call("bells.ring", principal=waiter, table=4)

        (entry,) = await entries(harness)

    assert entry.headers == {"subject": "ada", "tenant": "left", "roles": "cook waiter"}  # type: ignore[attr-defined]


async def test_what_is_too_large_is_refused(database_url: str) -> None:
    async with running(bells(), database_url=database_url) as harness:
        with pytest.raises(ValueError, match="bytes"):
            await harness.call("bells.ring", table=4, words="x" * DATA_BYTES_MAX)
        with pytest.raises(ValueError, match="characters"):
            await harness.call("bells.ring_long", key="x" * (KEY_CHARS_MAX + 1))
        with pytest.raises(TypeError, match=r"key= is text.*leave it out"):
            await harness.call("bells.ring_unkeyed")

        assert await entries(harness) == []


def test_a_handler_takes_its_event_and_answers_nobody() -> None:
    app = bells()

    @app.on(Rung)
    async def wrong(table: int) -> int:
        return table

    with pytest.raises(SetupError, match="let it take one input, event: Rung"):
        app.serve()


def test_a_pooler_needs_a_way_past_it() -> None:
    pooled = Database(url=Secret("postgresql://pooler/app"), pooler="transaction")
    app = bells()
    with pytest.raises(SetupError, match="TOQUE_DATABASE_DIRECT_URL"):
        app.serve(Settings(database=pooled))

    app.serve(Settings(database=structs.replace(pooled, direct_url=Secret("postgresql://server/app"))))
