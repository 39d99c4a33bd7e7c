"""A handler hears every event of its type once, in the order of its key, on behalf of whoever published it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from bells import HEARD, Broken, Rung, bells, heard, heard_by_bell, hearing, parked, rows_of, silent, store_of, until
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import insert

from toque import App, Context, Database, Delivery, Event, Outbox, Principal, public
from toque.contract.errors import Overloaded, Unavailable
from toque.log.cursor import BEGINNING
from toque.settings import Messages, Settings
from toque.testing import Harness, running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toque.messages.backoff.FIRST_S", 0.01)


async def test_an_event_is_handled_once_it_is_committed(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
        await harness.settle()

        assert await heard(store_of(harness)) == [1, 2, 3]
        assert await parked(store_of(harness)) == []


async def test_every_handler_hears_every_event(database_url: str) -> None:
    app = bells(silent)
    app.on(Rung)(hearing(silent, "cat"))
    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2])
        await harness.settle()

        assert sorted(await heard(store_of(harness))) == [1, 2]
        assert sorted(await heard(store_of(harness), "cat")) == [1, 2]


async def test_what_a_handler_publishes_is_handled_too(database_url: str) -> None:
    app = bells()

    @app.on(Rung)
    async def echo(event: Rung, db: Database, outbox: Outbox) -> None:
        await db.execute(insert(HEARD), {"who": "hear", "bell": "", "number": event.number})
        if event.number:
            outbox.publish(Rung(event.number - 1))

    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[3])
        await harness.settle()

        assert await heard(store_of(harness)) == [3, 2, 1, 0]
        reader = harness.serving.system.messages.reader  # type: ignore[union-attr]
        entries, _ = await reader.read(BEGINNING)
        assert [entry.headers.get("cause") for entry in entries] == [None, *(str(entry.id) for entry in entries[:-1])]


async def test_a_handler_acts_on_behalf_of_the_publisher_and_in_his_trace(database_url: str) -> None:
    app, seen = bells(), list[Any]()

    @app.on(Rung)
    async def look(event: Rung, caller: Principal, context: Context, delivery: Delivery) -> None:
        seen.extend((caller, context.trace.trace_id, delivery))

    waiter = Principal(subject="ada", tenant="left", roles=frozenset({"waiter"}))
    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring", principal=waiter, numbers=[1], bell="door")
        await harness.settle()
        (entry,), _ = await harness.serving.system.messages.reader.read(BEGINNING)  # type: ignore[union-attr]

    caller, trace_id, delivery = seen
    assert caller == waiter
    assert (delivery.consumer, delivery.id, delivery.key, delivery.attempt) == ("bells.look", str(entry.id), "door", 1)
    assert delivery.idempotency_key == f"bells.look/{entry.id}"
    assert abs(delivery.at - entry.at) < 0.001
    assert len(trace_id) == 32


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=15))
@examples(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_of_a_key_are_handled_in_their_order_whatever_fails(rings: list[tuple[str, int]]) -> None:
    """Each event fails as often as it was told to."""
    asyncio.run(_ring_all(rings))


async def _ring_all(rings: list[tuple[str, int]]) -> None:
    left = {number: failures for number, (_, failures) in enumerate(rings)}

    def hear(event: Rung) -> None:
        if left[event.number]:
            left[event.number] -= 1
            raise Broken("not yet")

    async with running(bells(hear)) as harness:
        await harness.call("bells.ring_each", bells=[(bell, number) for number, (bell, _) in enumerate(rings)])
        store = store_of(harness)
        await until(lambda: _count_is(harness, len(rings)))

        for bell, numbers in (await heard_by_bell(store)).items():
            assert numbers == [number for number, (each, _) in enumerate(rings) if each == bell]
        await until(lambda: _is_empty(harness))


async def _count_is(harness: Harness, count: int) -> bool:
    return len(await heard(store_of(harness))) == count


async def _is_empty(harness: Harness) -> bool:
    return await parked(store_of(harness)) == []


def broken_at(*numbers: int) -> Any:
    def hear(event: Rung) -> None:
        if event.number in numbers:
            raise Broken("this one never")

    return hear


async def test_what_cannot_be_handled_holds_up_its_key_and_no_other(database_url: str) -> None:
    async with running(bells(broken_at(1), attempts_max=2), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[0, 1, 2], bell="door")
        await harness.call("bells.ring", numbers=[7, 8], bell="desk")
        await until(lambda: _is_dead(harness))
        await harness.call("bells.ring", numbers=[3], bell="door")
        await harness.settle()

        assert await heard_by_bell(store_of(harness)) == {"door": [0], "desk": [7, 8]}
        found = await parked(store_of(harness))
        assert found == [("dead", 1, 2, 0, "error"), ("behind", 2, 0, 0, ""), ("behind", 3, 0, 0, "")]


async def _is_dead(harness: Harness) -> bool:
    return any(row[0] == "dead" for row in await parked(store_of(harness)))


async def test_a_handler_may_skip_what_it_cannot_handle(database_url: str) -> None:
    app = bells(broken_at(1), attempts_max=2, on_failure="skip")
    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[0, 1, 2], bell="door")
        await until(lambda: _count_is(harness, 2))
        await harness.call("bells.ring", numbers=[3], bell="door")
        await harness.settle()

        assert await heard(store_of(harness)) == [0, 2, 3]
        assert await parked(store_of(harness)) == [("dead", 1, 2, 0, "error")]


async def test_a_failure_is_kept_with_its_payload_and_its_history(database_url: str) -> None:
    async with running(bells(broken_at(1), attempts_max=3), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1], bell="door")
        await until(lambda: _is_dead(harness))
        ((data, errors),) = await rows_of(store_of(harness), "SELECT data, errors FROM toque.parked")

    assert msgspec.json.decode(data) == {"number": 1, "bell": "door"}
    history = msgspec.json.decode(errors)
    assert [(each["attempt"], each["code"]) for each in history] == [(1, "broken"), (2, "broken"), (3, "broken")]
    assert "Broken: this one never" in history[0]["error"]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no words")


@pytest.mark.parametrize(
    "error",
    [
        *(Mute(), ValueError("a null \0, and half a surrogate \ud800"), SystemExit(3), KeyboardInterrupt()),
        *(BaseException(), asyncio.CancelledError()),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_is_a_failure_of_that_event_alone(
    database_url: str, error: BaseException
) -> None:
    def hear(event: Rung) -> None:
        if event.number == 2:
            raise error

    async with running(bells(hear, attempts_max=2), database_url=database_url) as harness:
        await harness.call("bells.ring_each", bells=[("a", 1), ("b", 2), ("c", 3)])
        await until(lambda: _is_dead(harness))
        await harness.settle()

        assert sorted(await heard(store_of(harness))) == [1, 3]
        assert await parked(store_of(harness)) == [("dead", 2, 2, 0, "error")]


async def test_what_the_app_itself_lacks_burns_no_attempt(database_url: str) -> None:
    async with running(bells(silent, attempts_max=1), database_url=database_url) as harness:
        gate, calls_max = harness.serving.system.gate, harness.serving.system.gate.calls_max
        plan = harness.serving.system.messages.consumers.handlings["bells.hear"].plan  # type: ignore[union-attr]
        lacked = harness.serving.system.figures["bells.hear"].failures
        blocked = [Context.within("test", 60) for _ in range(calls_max * 2)]
        gate._calls.update(dict.fromkeys(blocked))
        await _publish(harness)
        await until(lambda: lacked.get("overloaded", 0) >= 2)
        for context in blocked:
            del gate._calls[context]
        await harness.settle()

        assert plan.operation.attempts_max == 1
        assert await heard(store_of(harness)) == [1]
        assert await parked(store_of(harness)) == []


async def _publish(harness: Harness) -> None:
    """Past the gate, which is full."""
    from toque.call.context import UNCALLED
    from toque.log.append import append
    from toque.store.database import transaction_of

    async def run(db: Database) -> None:
        append(transaction_of(db), "Rung", 1, key="", headers={}, data=b'{"number":1}')

    await store_of(harness).command(run, UNCALLED)


@pytest.mark.parametrize("error", [Unavailable("the post is closed"), Overloaded("the post is full")])
async def test_what_another_service_lacks_is_an_attempt_that_failed(database_url: str, error: Exception) -> None:
    def hear(event: Rung) -> None:
        raise error

    async with running(bells(hear, attempts_max=1), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()

        assert await parked(store_of(harness)) == [("dead", 1, 1, 0, "error")]


async def test_a_handler_that_hangs_is_stopped_and_the_others_go_on(database_url: str) -> None:
    async def hear(event: Rung) -> None:
        if event.number == 1:
            await asyncio.sleep(60)

    async with running(bells(hear, attempts_max=1, deadline_s=0.2), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3])
        await harness.settle()

        assert sorted(await heard(store_of(harness))) == [2, 3]
        assert await parked(store_of(harness)) == [("dead", 1, 1, 0, "error")]


async def test_a_handler_that_swallows_its_stop_is_not_kept(database_url: str) -> None:
    async def hear(event: Rung) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

    async with running(bells(hear, attempts_max=1, deadline_s=0.1), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()

        assert await heard(store_of(harness)) == []
        assert await parked(store_of(harness)) == [("dead", 1, 1, 0, "error")]


async def test_a_handler_that_never_ends_is_abandoned(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toque.messages.handling.STUCK_S", 0.1)
    go_on = asyncio.Event()

    async def hear(event: Rung) -> None:
        while event.number == 1 and not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                pass

    async with running(bells(hear, attempts_max=1, deadline_s=0.1), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2])
        await harness.settle()
        assert await heard(store_of(harness)) == [2]
        go_on.set()
        await asyncio.sleep(0.1)

        assert await heard(store_of(harness)) == [2]
        assert await parked(store_of(harness)) == [("dead", 1, 1, 0, "error")]


async def test_an_idle_app_writes_nothing_and_asks_once_a_second(database_url: str) -> None:
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
        await harness.settle()
        await asyncio.sleep(3)
        store = store_of(harness)
        asked, acted = list[int](), list[int]()
        query, command = store.query, store.command

        async def count_query(*args: Any, **named: Any) -> Any:
            asked.append(1)
            return await query(*args, **named)

        async def count_command(*args: Any, **named: Any) -> Any:
            acted.append(1)
            return await command(*args, **named)

        store.query, store.command = count_query, count_command  # type: ignore[method-assign]
        await asyncio.sleep(3)

        assert acted == []
        assert asked == []


async def test_a_handler_that_is_added_later_hears_what_comes_from_then_on(database_url: str) -> None:
    async with running(bells(), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1])
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[2])
        await harness.settle()

        assert await heard(store_of(harness)) == [2]


async def test_what_is_published_while_nobody_works_is_handled_later(database_url: str) -> None:
    async with running(
        bells(silent), settings=Settings(messages=Messages(work=False)), database_url=database_url
    ) as harness:
        await harness.call("bells.ring", numbers=[1], bell="door")
    async with running(bells(silent), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[2], bell="door")
        await harness.settle()

        assert await heard(store_of(harness)) == [1, 2]


def versions(event: type[Event]) -> App:
    app = bells()

    @app.on(event, name="hear")
    async def hear(event: event, db: Database) -> None:  # type: ignore[valid-type]
        await db.execute(insert(HEARD), {"who": "hear", "bell": event.bell, "number": event.number})  # type: ignore[attr-defined]

    return app


class Newer(Event):
    __type__ = "Rung"
    __version__ = 2
    number: int
    bell: str
    loudness: int = 0

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "bell": data["bell"].upper(), "loudness": 3}


async def test_an_event_of_an_old_version_is_handled_as_the_present_one(database_url: str) -> None:
    async with running(versions(Newer), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1], bell="door")
        await harness.settle()

        assert await heard_by_bell(store_of(harness)) == {"DOOR": [1]}


async def test_an_unknown_version_is_kept_for_a_release_that_knows_it(database_url: str) -> None:
    class Ahead(Event):
        __type__ = "Rung"
        __version__ = 2
        number: int
        bell: str = ""

    app = versions(Rung)

    @app.command(allow=public)
    async def ring_ahead(number: int, outbox: Outbox) -> None:
        outbox.publish(Ahead(number, "door"), key="door")

    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring_ahead", number=1)
        await harness.call("bells.ring", numbers=[2], bell="door")
        await harness.settle()
        assert await parked(store_of(harness)) == [("dead", 1, 1, 0, "unknown"), ("behind", 2, 0, 0, "")]
    async with running(versions(Newer), database_url=database_url) as harness:
        await harness.settle()

        assert sorted(await heard(store_of(harness))) == [1, 2]
        assert await parked(store_of(harness)) == []


async def test_what_cannot_be_read_is_kept(database_url: str) -> None:
    class Other(Event):
        __type__ = "Rung"
        words: str

    app = versions(Rung)

    @app.command(allow=public)
    async def ring_other(outbox: Outbox) -> None:
        outbox.publish(Other("no number"), key="door")

    async with running(app, database_url=database_url) as harness:
        await harness.call("bells.ring_other")
        await harness.settle()

        ((state, reason),) = await rows_of(store_of(harness), "SELECT state, reason FROM toque.parked")
        assert (state, reason) == ("dead", "unknown")
