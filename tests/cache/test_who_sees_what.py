"""Callers of all kinds ask at once and bring one another's tags: each is answered what he is without a cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from branches import MODES, make_app

from toque import Principal
from toque.settings import Cache, Settings
from toque.testing import Harness, running

CALLERS = (
    None,
    *(
        Principal(subject=subject, tenant=tenant, roles=frozenset(roles))
        for subject, tenant in (("ann", "north"), ("bob", "north"), ("ann", "south"))
        for roles in ((), ("clerk",), ("confessor",), ("clerk", "confessor"))
    ),
)
TARGETS = ("/look/0", "/look/1", "/letters/1", "/letters/2", "/joined", "/me")
AT_ONCE = 24


class World:
    """Its calls are chosen by one seed."""

    def __init__(self, remembering: Harness, forgetful: Harness, seed: int) -> None:
        self.remembering = remembering
        self.forgetful = forgetful
        self.random = Random(seed)
        self.tags: dict[str, bytes] = {}
        """Every tag that was ever given to anybody, and what it stands for."""
        self.hits = self.unchanged = 0

    async def change(self) -> None:
        """Something that all may notice, or nobody, or some."""
        rows = {
            "mode": {"mode": self.random.randrange(MODES)},
            "poster": {"text": self.random.choice("abc")},
            "letter": {
                "tenant": self.random.choice(("north", "south")),
                "owner": self.random.choice(("ann", "bob", "nobody")),
                "remark": self.random.choice(("fine", None)),
            },
            "diary": {"owner": self.random.choice(("ann", "bob")), "text": self.random.choice("abc")},
        }
        table = self.random.choice(("mode", *rows))
        row: dict[str, Any] = rows[table] if table in ("mode", "poster") or self.random.random() < 0.8 else {}
        done = await self.remembering.post(f"/set/{table}/{self.random.randrange(3)}", json=row)
        assert done.status == 204, done.text

    async def ask_all(self) -> None:
        calls = [(self.random.choice(TARGETS), self.random.choice(CALLERS)) for _ in range(AT_ONCE)]
        async with asyncio.TaskGroup() as group:
            for target, caller in calls:
                group.create_task(self._ask(target, caller))

    async def _ask(self, target: str, caller: Principal | None) -> None:
        tag = self.random.choice([None, *self.tags]) if self.tags and self.random.random() < 0.7 else None
        headers = {} if tag is None else {"if-none-match": tag}
        got = await self.remembering.get(target, principal=caller, headers=headers)
        truth = await self.forgetful.get(target, principal=caller)
        self.hits += got.headers.get("cache-status") == "toque; hit"
        what = f"{target} for {caller}, with {headers}"
        if got.status == 304:
            assert tag is not None
            self.unchanged += 1
            assert self.tags[tag] == truth.content, what
            assert got.headers["etag"] == tag, what
        elif got.status == 200:
            assert (got.status, got.content) == (truth.status, truth.content), what
            self.tags[got.headers["etag"]] = got.content
        else:
            assert (got.status, got.json()["code"]) == (truth.status, truth.json()["code"]), what
        is_shared = got.status < 400 and got.headers["cache-control"].startswith("public")
        if is_shared:
            # Whoever is given it by a shared cache would have been answered so.
            for other in (None, CALLERS[1], CALLERS[-1]):
                assert (await self.forgetful.get(target, principal=other)).content == truth.content, what


@pytest.fixture
async def twins(database_url: str) -> AsyncIterator[tuple[Harness, Harness]]:
    """One that remembers and one that does not, over one database."""
    forgetful = Settings(cache=Cache(bytes_max=0))
    async with (
        running(make_app(), database_url=database_url) as first,
        running(make_app(), settings=forgetful, database_url=database_url) as second,
    ):
        yield first, second


async def _watch(twins: tuple[Harness, Harness], seed: int, rounds: int) -> None:
    world = World(*twins, seed)
    for _ in range(rounds):
        await world.change()
        for _ in range(2):
            await world.ask_all()
    assert world.hits > rounds
    assert world.unchanged > 0


async def test_nobody_is_given_what_is_another_s(twins: tuple[Harness, Harness]) -> None:
    await _watch(twins, 1, 12)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
async def test_nobody_is_given_what_is_another_s_in_very_many_worlds(twins: tuple[Harness, Harness], seed: int) -> None:
    await _watch(twins, seed, 300)
