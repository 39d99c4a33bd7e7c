"""The rules around the protocol, each taken away once: some world must notice that it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from branches import make_app as make_branches
from kitchen_of_callers import make_app as make_kitchen
from test_who_sees_what import World

from toque.cache import rules
from toque.cache.kept import KeptAnswer
from toque.cache.knowledge import Knowledge
from toque.cache.noting import Noting
from toque.cache.policy import CachedQuery
from toque.cache.runner import Runner
from toque.cache.sqlite_looker import SqliteLooker
from toque.settings import Cache, Settings
from toque.testing import Harness, running

Patch = pytest.MonkeyPatch
Remove = Callable[[Patch], None]


# Worlds.


async def callers(folder: Path) -> None:
    """Callers of all kinds ask at once; see `test_who_sees_what.py`."""
    url = f"sqlite:///{folder / 'callers.db'}"
    async with (
        running(make_branches(), database_url=url) as first,
        running(make_branches(), settings=Settings(cache=Cache(bytes_max=0)), database_url=url) as second,
    ):
        world = World(first, second, 1)
        for _ in range(12):
            await world.change()
            for _ in range(2):
                await world.ask_all()


async def writers(folder: Path) -> None:
    """Others write while queries run, before and after."""
    url = f"sqlite:///{folder / 'writers.db'}"
    async with running(make_kitchen(), database_url=url) as one, running(make_kitchen(), database_url=url) as other:
        await one.call("kitchen.add_dish", id=1, name="soup", price=5)
        for price in range(10, 16):
            for name in ("list_dishes", "by_session", "trusted"):
                await one.call(f"kitchen.{name}")
            await other.call("kitchen.set_price", id=1, price=0)
            slow = await _running(one, "list_slowly")
            await other.call("kitchen.set_price", id=1, price=price)
            await other.call("kitchen.add_dish", id=price, name="pie", price=price)
            # Whoever asks has the news looked at, while the run is still under way.
            await one.call("kitchen.list_dishes")
            await slow
            for _ in range(2):
                dishes = await one.call("kitchen.list_dishes")
                assert dishes[0].price == price
                dishes[0].price = 0
                assert (await one.call("kitchen.list_slowly"))[0].price == price
                assert await one.call("kitchen.by_session") == price - 8
                assert await one.call("kitchen.trusted") == price - 8


async def _running(kitchen: Harness, name: str) -> asyncio.Task[Any]:
    """A call of it that has had time to read, and goes on."""
    cache = kitchen.serving.system.cache
    assert cache is not None
    figures = cache.queries[f"kitchen.{name}"].figures
    runs = figures.runs
    call = asyncio.create_task(kitchen.call(f"kitchen.{name}"))
    async with asyncio.timeout(30):
        while figures.runs == runs:
            await asyncio.sleep(0.005)
    # If it has not read by then, this round proves nothing.
    await asyncio.sleep(0.01)
    return call


# Rules.


def _instead(owner: Any, name: str, instead: Any) -> Remove:
    return lambda patch: patch.setattr(owner, name, instead)


def _around(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Remove:
    return lambda patch: patch.setattr(owner, name, wrap(getattr(owner, name)))


def _key_without(*places: int) -> Remove:
    """A key in which all is alike that stands at *places*."""

    def wrap(key_of: Any) -> Any:
        def key(*arguments: Any) -> Any:
            found = key_of(*arguments)
            return found and tuple(None if at in places else part for at, part in enumerate(found))

        return key

    def remove(patch: Patch) -> None:
        patch.setattr(Knowledge, "key", wrap(Knowledge.key))
        # How many facts a key tells is asked of it, and is all of them then.
        patch.setattr(Knowledge, "tells", lambda self, key, asked: True)

    return remove


def _learns_and_passes_over(tells: Any) -> Any:
    return lambda self, key, asked: tells(self, key, asked) or True


def _public(address: Any) -> Any:
    def of_nobody(self: Any, kept: KeptAnswer, key: Any, *, is_personal: bool) -> None:
        address(self, kept, key, is_personal=False)

    return of_nobody


def _hears_nothing(statement: Any) -> Any:
    def heard(self: Noting, *arguments: Any) -> None:
        statement(self, *arguments)
        self.asked.clear()

    return heard


def _trusts_nothing(init: Any) -> Any:
    def made(self: Any, *arguments: Any, reads: Sequence[str] | None, **options: Any) -> None:
        init(self, *arguments, reads=None if reads is None else [], **options)

    return made


def _the_same(value: Any) -> Any:
    def given(self: KeptAnswer) -> Any:
        if "value" not in self._forms:
            self._forms["value"] = value(self)
        return self._forms["value"]

    return given


REMOVED: dict[str, tuple[Callable[[Path], Awaitable[None]], Remove]] = {
    "a key tells the operation": (callers, _key_without(0)),
    "a key tells the inputs": (callers, _key_without(1)),
    "a key tells the caller": (callers, _key_without(2, 3)),
    "a run that asks more than its key tells is its caller's alone": (
        callers,
        _around(Knowledge, "tells", _learns_and_passes_over),
    ),
    "what is its caller's alone is given to nobody else": (callers, _instead(rules, "is_for_others", lambda _: True)),
    "what a statement asks about the caller is noted": (callers, _around(Noting, "statement", _hears_nothing)),
    "what depends on its caller is private": (callers, _around(CachedQuery, "_address", _public)),
    "what nobody can track is not kept": (writers, _instead(CachedQuery, "_why_untracked", lambda *_: "")),
    "tables that an author vouches for are watched": (writers, _around(CachedQuery, "__init__", _trusts_nothing)),
    "SQLite is asked for news before each answer": (writers, _instead(SqliteLooker, "has_news", lambda self: False)),
    "what a query reads is watched while it runs": (writers, _instead(rules, "may_keep", lambda at, lasting: lasting)),
    "what a query reads is told": (writers, _instead(Runner, "read", lambda self, flight, part: None)),
    "each caller is given a value of his own": (writers, _around(KeptAnswer, "value", _the_same)),
}


@pytest.mark.parametrize("world", [callers, writers])
async def test_no_world_notices_anything(world: Callable[[Path], Awaitable[None]], tmp_path: Path) -> None:
    await world(tmp_path)


@pytest.mark.parametrize("rule", REMOVED)
async def test_each_rule_is_needed(rule: str, tmp_path: Path, monkeypatch: Patch) -> None:
    world, remove = REMOVED[rule]
    remove(monkeypatch)

    with pytest.raises((AssertionError, ExceptionGroup)):
        await world(tmp_path)
