"""An operator sees what could not be handled, and decides about it beside a running app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import Any

import pytest
from bells import Broken, Rung, bells, heard, parked, rows_of, silent, store_of, until

from toque.messages.operating import Operator
from toque.testing import Harness, running

NAME = "bells.hear"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toque.messages.backoff.FIRST_S", 0.01)
    monkeypatch.setattr("toque.messages.consumers.TRY_S", 0.05)
    monkeypatch.setattr("toque.messages.ownership.LOOK_S", 0.05)


class Bells:
    """Breaks at 1 until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False
        self.numbers: list[int] = []

    def __call__(self, event: Rung) -> None:
        if event.number == 1 and not self.is_mended:
            raise Broken("not yet")
        self.numbers.append(event.number)


async def _three(harness: Harness) -> str:
    """Rings three times, of which the first cannot be handled: its id."""
    await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
    await harness.settle()
    return str((await rows_of(store_of(harness), "SELECT event FROM toque.parked ORDER BY place LIMIT 1"))[0][0])


def _heard(harness: Harness, numbers: list[int]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await heard(store_of(harness)) == numbers and await parked(store_of(harness)) == []

    return look


async def test_what_is_retried_is_handled_and_what_is_behind_it_follows(database_url: str) -> None:
    hear = Bells()
    async with running(bells(hear, attempts_max=1), database_url=database_url) as harness:
        id = await _three(harness)
        hear.is_mended = True

        assert await Operator(store_of(harness)).retry(NAME, id) == 1
        await until(_heard(harness, [1, 2, 3]))


async def test_what_is_discarded_counts_as_handled_and_what_is_behind_it_follows(database_url: str) -> None:
    async with running(bells(Bells(), attempts_max=1), database_url=database_url) as harness:
        operator, id = Operator(store_of(harness)), await _three(harness)

        assert await operator.discard(NAME, id)
        await until(_heard(harness, [2, 3]))
        # As handled as the others are: a former owner who still tries it finds that.
        assert await rows_of(store_of(harness), "SELECT count(*) FROM toque.inbox") == [(3,)]
        await harness.call("bells.ring", numbers=[4], bell="door")
        await until(_heard(harness, [2, 3, 4]))
        assert not await operator.discard(NAME, id)


async def test_a_key_goes_on_when_its_only_dead_letter_is_discarded(database_url: str) -> None:
    async with running(bells(Bells(), attempts_max=1), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1], bell="door")
        await harness.settle()
        ((id,),) = await rows_of(store_of(harness), "SELECT event FROM toque.parked")

        await Operator(store_of(harness)).discard(NAME, str(id))
        await harness.call("bells.ring", numbers=[2], bell="door")

        await until(_heard(harness, [2]))


async def test_another_payload_is_what_is_handled(database_url: str) -> None:
    async with running(bells(Bells(), attempts_max=1), database_url=database_url) as harness:
        operator, id = Operator(store_of(harness)), await _three(harness)

        assert await operator.edit(NAME, id, b'{"number":7,"bell":"door"}', 1)
        await operator.retry(NAME, id)

        await until(_heard(harness, [7, 2, 3]))


async def test_a_paused_consumer_begins_nothing_until_it_is_resumed(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        operator = Operator(store_of(harness))
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        await operator.set_state(NAME, "paused")
        ownership = harness.serving.system.messages.consumers.owned[NAME]  # type: ignore[union-attr]
        await until(lambda: ownership._state == "paused" or ownership.hear())
        await harness.call("bells.ring", numbers=[2])
        assert await heard(store_of(harness)) == [1]

        await operator.set_state(NAME, "running")
        await until(_heard(harness, [1, 2]))


async def test_lag_and_what_is_parked_are_seen(database_url: str) -> None:
    async with running(bells(Bells(), attempts_max=1), database_url=database_url) as harness:
        operator, _ = Operator(store_of(harness)), await _three(harness)
        (row,) = await operator.consumers({NAME: "Rung"})
        assert (row.state, row.is_owned, row.parked, row.keys) == ("running", True, {"dead": 1, "behind": 2}, 1)
        found = await operator.parked(NAME)
        assert (found[0].state, bytes(found[0].data)[:11]) == ("dead", b'{"number":1')
        assert found[0].errors[0].code == "broken"
    async with running(bells(silent), settings=_idle(), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[4, 5])
        (row,) = await Operator(store_of(harness)).consumers({NAME: "Rung"})

        assert row.lag == 2
        assert row.oldest_at is not None
        assert abs(row.oldest_at - time()) < 60
        assert not row.is_owned


def _idle() -> Any:
    from toque.settings import Messages, Settings

    return Settings(messages=Messages(work=False))


async def test_a_replay_handles_again_what_there_was_and_then_is_done(database_url: str) -> None:
    hear = Bells()
    hear.is_mended = True
    async with running(bells(hear), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
        await harness.settle()
        operator = Operator(store_of(harness))

        assert await operator.replay(NAME, "again", at=0.0)
        assert not await operator.replay(NAME, "again", at=0.0)
        await until(lambda: _is_done(operator))
        await harness.call("bells.ring", numbers=[4], bell="door")
        await harness.settle()

        assert await heard(store_of(harness)) == [1, 2, 3, 1, 2, 3, 4]


async def _is_done(operator: Operator) -> bool:
    row = await operator.row("again")
    return row is not None and row.state == "done"


async def test_a_replay_from_a_position_begins_there(database_url: str) -> None:
    hear = Bells()
    hear.is_mended = True
    async with running(bells(hear), database_url=database_url) as harness:
        for number in (1, 2, 3):
            await harness.call("bells.ring", numbers=[number])
        await harness.settle()
        positions = [row[0] for row in await rows_of(store_of(harness), "SELECT pos FROM toque.event ORDER BY pos")]
        operator = Operator(store_of(harness))

        assert await operator.replay(NAME, "again", position=positions[1])
        await until(lambda: _is_done(operator))

        assert sorted(await heard(store_of(harness))) == [1, 2, 2, 3, 3]
