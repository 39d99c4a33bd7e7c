"""Resources: made late, kept for the app or for one call, ended in reverse, whoever calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from msgspec import json

from toque.app import App
from toque.call.context import Context
from toque.codecs.json import JSON
from toque.contract.access import public
from toque.contract.errors import Conflict, DeadlineExceeded
from toque.settings import Settings
from toque.settings.tree import Calls
from toque.testing import Harness, running
from toque.transports.jsonrpc import JsonRpc

GIVE_UP_S = 10


class Oven:
    """Lives as long as the app."""

    def __init__(self, story: list[str]) -> None:
        self.story = story


class Tray:
    """Lives for one call, on an oven."""

    def __init__(self, oven: Oven) -> None:
        self.oven = oven


class Spoon:
    """Lives for one call, on a tray."""


class Cloth:
    """Lives for one call."""


class Failing:
    """Fails at its end."""


@pytest.fixture
def story() -> list[str]:
    return []


@pytest.fixture
def bakery(story: list[str]) -> App:
    app = App("bakery", settings=Settings())

    @app.resource()
    async def heat() -> AsyncIterator[Oven]:
        story.append("oven on")
        await asyncio.sleep(0)
        try:
            yield Oven(story)
        finally:
            story.append("oven off")

    @app.resource(lifetime="call")
    def slide(oven: Oven) -> Iterator[Tray]:
        story.append("tray in")
        try:
            yield Tray(oven)
        finally:
            story.append("tray out")

    @app.resource(lifetime="call")
    async def take(tray: Tray) -> AsyncIterator[Spoon]:
        story.append("spoon taken")
        try:
            yield Spoon()
        finally:
            await asyncio.sleep(0)
            story.append("spoon washed")

    @app.resource(lifetime="call")
    async def fail() -> AsyncIterator[Failing]:
        yield Failing()
        story.append("failing")
        raise ValueError("cannot be ended")

    @app.command("/bake", allow=public)
    async def bake(spoon: Spoon, tray: Tray) -> str:
        story.append("baked")
        return "bread"

    @app.command("/spill", allow=public)
    async def spill(spoon: Spoon) -> None:
        raise Conflict("the oven is full")

    @app.command("/wait", allow=public, deadline_s=0.01)
    async def wait(spoon: Spoon) -> None:
        await asyncio.Event().wait()

    @app.query("/slices", allow=public)
    async def slices(spoon: Spoon) -> AsyncIterator[int]:
        for number in range(2):
            story.append(f"slice {number}")
            yield number

    @app.command("/burn", allow=public)
    async def burn(tray: Tray, failing: Failing) -> str:
        return "never eaten"

    @app.query("/look", allow=public)
    def look(oven: Oven, tray: Tray) -> bool:
        return tray.oven is oven

    return app


CALL = ["tray in", "spoon taken", "baked", "spoon washed", "tray out"]


async def test_what_nobody_asked_for_is_not_made(bakery: App, story: list[str]) -> None:
    async with running(bakery):
        pass

    assert story == []


async def by_name(harness: Harness) -> Any:
    return await harness.call("bakery.bake")


async def over_http(harness: Harness) -> Any:
    return (await harness.post("/bake")).json()


async def over_json_rpc(harness: Harness) -> Any:
    content = {"jsonrpc": "2.0", "id": 1, "method": "bakery.bake"}
    return (await harness.post("/rpc", json=content)).json()["result"]


async def over_messages(harness: Harness) -> Any:
    """As a WebSocket does, a message at a time; the socket itself is tested with real servers."""
    jsonrpc = JsonRpc(harness.serving.system.plans, JSON)
    message = b'{"jsonrpc": "2.0", "id": 1, "method": "bakery.bake"}'
    answer = await jsonrpc.answer(message, lambda plan: Context.within(plan.operation.name, 10))
    return json.decode(answer or b"")["result"]


@pytest.mark.parametrize("call", [by_name, over_http, over_json_rpc, over_messages])
async def test_every_way_in_makes_the_same_and_ends_it_in_reverse(
    bakery: App, story: list[str], call: Callable[[Harness], Awaitable[Any]]
) -> None:
    async with running(bakery) as harness:
        assert await call(harness) == "bread"
        assert await call(harness) == "bread"

    assert story == ["oven on", *CALL, *CALL, "oven off"]


async def test_calls_at_once_share_the_app_s_resource_and_nothing_else(bakery: App, story: list[str]) -> None:
    async with running(bakery) as harness:
        await asyncio.gather(*(harness.call("bakery.bake") for _ in range(5)))

    assert story.count("oven on") == 1
    assert story.count("tray in") == story.count("tray out") == 5


async def test_one_call_has_one_of_each(bakery: App) -> None:
    async with running(bakery) as harness:
        assert await harness.call("bakery.look") is True


async def test_a_call_that_fails_ends_its_resources_too(bakery: App, story: list[str]) -> None:
    async with running(bakery) as harness:
        with pytest.raises(Conflict):
            await harness.call("bakery.spill")

    assert story == ["oven on", "tray in", "spoon taken", "spoon washed", "tray out", "oven off"]


async def test_what_a_call_raised_passes_through_its_resources() -> None:
    """A resource sees the failure at its `yield`, as `with` would show it: so a transaction can be undone."""
    app = App("bank", settings=Settings())
    seen: list[str] = []

    @app.resource(lifetime="call")
    async def begin() -> AsyncIterator[Tray]:
        try:
            yield Tray(Oven([]))
        except Conflict:
            seen.append("undone")
            raise

    @app.command(allow=public)
    async def pay(tray: Tray) -> None:
        raise Conflict("no money")

    async with running(app) as harness:
        with pytest.raises(Conflict):
            await harness.call("bank.pay")

    assert seen == ["undone"]


async def test_a_call_that_is_stopped_ends_its_resources_too(bakery: App, story: list[str]) -> None:
    async with running(bakery) as harness:
        with pytest.raises(DeadlineExceeded):
            await harness.call("bakery.wait")

    assert story == ["oven on", "tray in", "spoon taken", "spoon washed", "tray out", "oven off"]


async def test_a_thread_keeps_its_resources_until_it_has_ended(bakery: App, story: list[str]) -> None:
    """It cannot be stopped: its caller is answered at the deadline, and it goes on with what it was given."""
    begun, go_on = threading.Event(), threading.Event()

    @bakery.command(allow=public, deadline_s=0.05)
    def knead(tray: Tray) -> None:
        begun.set()
        assert go_on.wait(GIVE_UP_S)
        story.append("kneaded")

    async with running(bakery) as harness:
        with pytest.raises(DeadlineExceeded):
            await harness.call("bakery.knead")
        assert begun.is_set()
        assert story == ["oven on", "tray in"]

        go_on.set()
        async with asyncio.timeout(GIVE_UP_S):
            while "tray out" not in story:
                await asyncio.sleep(0.005)

    assert story == ["oven on", "tray in", "kneaded", "tray out", "oven off"]


async def test_what_waits_for_a_thread_in_vain_ends_at_once(story: list[str]) -> None:
    app = App("bakery")
    begun, go_on = threading.Event(), threading.Event()

    @app.resource(lifetime="call")
    async def slide() -> AsyncIterator[Tray]:
        story.append("tray in")
        try:
            yield Tray(Oven(story))
        finally:
            story.append("tray out")

    @app.command(allow=public)
    def hold() -> bool:
        begun.set()
        return go_on.wait(GIVE_UP_S)

    @app.command(allow=public, deadline_s=0.05)
    def knead(tray: Tray) -> None:
        story.append("kneaded")

    async with running(app, settings=Settings(calls=Calls(threads_max=1))) as harness:
        holding = asyncio.create_task(harness.call("bakery.hold"))
        await asyncio.to_thread(begun.wait, GIVE_UP_S)
        with pytest.raises(DeadlineExceeded):
            await harness.call("bakery.knead")
        await asyncio.sleep(0)
        assert story == ["tray in", "tray out"]
        go_on.set()
        assert await holding is True

    assert story == ["tray in", "tray out"]


async def test_an_end_that_fails_after_its_call_was_stopped_is_logged(
    bakery: App, story: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    @bakery.resource(lifetime="call")
    def lay() -> Iterator[Cloth]:
        try:
            yield Cloth()
        finally:
            story.append("cloth torn")
            raise ValueError("torn")

    @bakery.command(allow=public, deadline_s=0.05)
    def knead(tray: Tray, cloth: Cloth) -> None:
        assert go_on.wait(GIVE_UP_S)

    async with running(bakery) as harness:
        with pytest.raises(DeadlineExceeded):
            await harness.call("bakery.knead")
        go_on.set()
        async with asyncio.timeout(GIVE_UP_S):
            while "could not end what it had begun" not in caplog.text:
                await asyncio.sleep(0.005)

    assert story == ["oven on", "tray in", "cloth torn", "tray out", "oven off"]


async def test_a_stream_holds_its_resources_to_its_last_item(bakery: App, story: list[str]) -> None:
    async with running(bakery) as harness:
        assert await harness.call("bakery.slices") == [0, 1]

    expected = [
        "oven on",
        "tray in",
        "spoon taken",
        "slice 0",
        "slice 1",
        "spoon washed",
        "tray out",
        "oven off",
    ]
    assert story == expected


async def test_an_end_that_fails_fails_the_call_and_spares_the_others(bakery: App, story: list[str]) -> None:
    async with running(bakery) as harness:
        with pytest.raises(ValueError, match="cannot be ended"):
            await harness.call("bakery.burn")
        assert story == ["oven on", "tray in", "failing", "tray out"]

        answer = await harness.post("/burn")
        assert answer.status == 500
        assert "cannot be ended" not in answer.text
        assert await harness.call("bakery.bake") == "bread"


async def test_a_making_that_fails_is_tried_again_by_the_next_call() -> None:
    app = App("bakery", settings=Settings())
    tries: list[int] = []

    @app.resource()
    async def heat() -> Oven:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("no power")
        return Oven([])

    @app.query(allow=public)
    async def look(oven: Oven) -> bool:
        return True

    async with running(app) as harness:
        with pytest.raises(ConnectionError):
            await harness.call("bakery.look")
        assert await harness.call("bakery.look") is True


async def test_app_resources_end_in_reverse_and_one_that_fails_spares_the_others() -> None:
    app = App("bakery", settings=Settings())
    ended: list[str] = []

    @app.resource()
    async def heat() -> AsyncIterator[Oven]:
        yield Oven([])
        ended.append("oven")

    @app.resource()
    async def slide(oven: Oven) -> AsyncIterator[Tray]:
        yield Tray(oven)
        ended.append("tray")
        raise ValueError("stuck")

    @app.query(allow=public)
    async def look(tray: Tray) -> bool:
        return True

    with pytest.raises(ExceptionGroup) as caught:
        async with running(app) as harness:
            await harness.call("bakery.look")

    assert caught.group_contains(ValueError, match="stuck")
    assert ended == ["tray", "oven"]


@pytest.mark.parametrize("kind", ["plain", "async", "generator", "async generator"])
async def test_a_recipe_is_any_kind_of_function(kind: str) -> None:
    app = App("bakery", settings=Settings())

    def plain() -> Oven:
        return Oven([])

    async def later() -> Oven:
        return Oven([])

    def generator() -> Iterator[Oven]:
        yield Oven([])

    async def async_generator() -> AsyncIterator[Oven]:
        yield Oven([])

    recipes = {"plain": plain, "async": later, "generator": generator, "async generator": async_generator}
    app.resource()(recipes[kind])

    @app.query(allow=public)
    async def look(oven: Oven) -> str:
        return type(oven).__name__

    async with running(app) as harness:
        assert await harness.call("bakery.look") == "Oven"
