"""Old events are forgotten once everybody has passed them, and nothing else is."""

from __future__ import annotations

from time import time
from typing import Any

from bells import bells, heard, rows_of, silent, store_of

from toque.log.append import DAY_S
from toque.messages.operating import Operator
from toque.messages.rotation import Rotation
from toque.settings import Messages, Settings
from toque.testing import Harness, running

WEEK_S = 7 * DAY_S


def rotation_of(harness: Harness) -> Rotation:
    services = harness.serving.system.messages.services  # type: ignore[union-attr]
    return next(each for each in services if isinstance(each, Rotation))


async def counts(harness: Harness) -> tuple[int, int]:
    events = await rows_of(store_of(harness), "SELECT count(*) FROM toque.event")
    return events[0][0], (await rows_of(store_of(harness), "SELECT count(*) FROM toque.inbox"))[0][0]


async def _noted(harness: Harness) -> None:
    """Have the consumers' places noted, which a running app does once a second."""
    await harness.serving.system.messages.consumers.stop()  # type: ignore[union-attr]


async def test_what_is_old_and_handled_is_forgotten(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3])
        await harness.settle()
        await _noted(harness)
        rotation = rotation_of(harness)

        assert await rotation.rotate(time()) == 0
        assert await rotation.rotate(time() + WEEK_S - DAY_S) == 0
        assert await counts(harness) == (3, 3)
        assert await rotation.rotate(time() + WEEK_S) > 0
        assert await counts(harness) == (0, 0)
        assert sorted(await heard(store_of(harness))) == [1, 2, 3]


async def test_what_was_handled_of_a_publisher_whose_clock_is_ahead_is_known_for_as_long(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        await _noted(harness)

        # For whoever rotates it is still yesterday: these events are of the day that comes.
        await rotation_of(harness).rotate(time() - DAY_S)

        assert await counts(harness) == (1, 1)


async def test_what_a_consumer_has_not_passed_is_kept(database_url: str, caplog: Any) -> None:
    idle = Settings(messages=Messages(work=False))
    async with running(bells(silent), settings=idle, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])

        assert await rotation_of(harness).rotate(time() + 2 * WEEK_S) == 0
        assert await counts(harness) == (1, 0)
        assert "bells.hear has not come past events" in caplog.text
        await Operator(store_of(harness)).forget("bells.hear")
        assert await rotation_of(harness).rotate(time() + 2 * WEEK_S) == 1
        assert await counts(harness) == (0, 0)


async def test_events_that_come_after_a_rotation_are_handled(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        await _noted(harness)
        await rotation_of(harness).rotate(time() + WEEK_S)
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[2])
        await harness.settle()

        assert await heard(store_of(harness)) == [1, 2]
