"""A full line refuses at once what it would refuse further in: the same words, the same counts, the same rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from msgspec.structs import replace

from toque.app import App
from toque.call.line import Place
from toque.contract.access import authenticated, predicate, public, role
from toque.contract.operation import Kind, Priority
from toque.contract.principal import Principal
from toque.settings import Settings
from toque.store import Database
from toque.testing import running
from toque.testing.harness import Harness

LONG_WAY = {"x-priority": "critical"}
"""Whoever says how important he is goes in, and hears it from the stages."""

HOG = Principal(subject="ann", tenant="hog")
SMALL = Principal(subject="zoe", tenant="small")


def _app() -> App:
    app = App("inn")

    @app.query("/open", allow=public, cached=False)
    async def open_to_all(db: Database) -> str:
        return "served"

    @app.query("/items", allow=public, cached=False)
    async def items(db: Database) -> AsyncIterator[int]:
        yield 1

    @app.query("/known", allow=authenticated, cached=False)
    async def known(db: Database) -> str:
        return "served"

    @app.query("/cooks", allow=role("cook"), cached=False)
    async def cooks(db: Database) -> str:
        return "served"

    @app.query("/odd", allow=predicate(_failing), cached=False)
    async def odd(db: Database) -> str:
        return "served"

    @app.query("/critical", allow=public, priority="critical", cached=False)
    async def critical(db: Database) -> str:
        return "served"

    return app


def _failing(principal: Principal) -> bool:
    raise LookupError("the predicate's own bug")


@pytest.fixture
async def inn() -> AsyncIterator[Harness]:
    async with running(_app()) as harness:
        yield harness


@contextmanager
def crowded(inn: Harness, tenant: str = "") -> Iterator[None]:
    """The line for the readers, filled by calls of *tenant* that have just come; nobody is served meanwhile."""
    store = inn.serving.system.store
    assert store is not None
    waiting = store.waiting(Kind.QUERY)
    assert waiting is not None
    line = waiting.line
    taken: list[Place[Any]] = []
    while line.count < line.waiting_max:
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        place = Place(turn, tenant=tenant, priority=Priority.NORMAL, since=monotonic() + 60, deadline=monotonic() + 600)
        taken.append(place)
        line.join(place)
    try:
        yield
    finally:
        for place in taken:
            line.leave(place)


def refusals(inn: Harness, operation: str) -> tuple[int, int]:
    """How many calls of *operation* are counted as overloaded, and how many the readers' line has refused."""
    store = inn.serving.system.store
    assert store is not None
    waiting = store.waiting(Kind.QUERY)
    assert waiting is not None
    return inn.serving.system.figures[operation].codes.get("overloaded", 0), sum(waiting.refused.values())


@pytest.mark.parametrize("path", ["/open", "/items"])
async def test_the_answer_is_that_of_the_long_way(inn: Harness, path: str) -> None:
    with crowded(inn):
        short = await inn.request("GET", path)
        long = await inn.request("GET", path, headers=LONG_WAY)

    assert (short.status, short.json()["code"]) == (503, "overloaded")
    assert (short.content, short.headers.items()) == (long.content, long.headers.items())
    assert (await inn.request("GET", path)).status == 200


async def test_each_refusal_is_counted_once(inn: Harness) -> None:
    with crowded(inn):
        for number in range(1, 4):
            await inn.request("GET", "/open")
            assert refusals(inn, "inn.open_to_all") == (number, number)
        await inn.request("GET", "/open", headers=LONG_WAY)

    assert refusals(inn, "inn.open_to_all") == (4, 4)
    assert inn.serving.system.figures["inn.open_to_all"].calls == 4


async def test_the_caller_hears_of_his_trace(inn: Harness) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with crowded(inn):
        answer = await inn.request("GET", "/open", headers={"traceparent": trace})

    assert (answer.status, answer.json()["trace_id"]) == (503, "4bf92f3577b34da6a3ce929d0e0e4736")


async def test_what_matters_passes(inn: Harness) -> None:
    with crowded(inn):
        assert (await inn.request("GET", "/critical")).status == 200


async def test_who_is_not_proven_or_may_not_hears_that(inn: Harness) -> None:
    known = {"authorization": f"Bearer {inn.token(HOG)}"}
    for_cooks = [await inn.request("GET", "/cooks", headers=known)]
    with crowded(inn, "hog"):
        unproven = await inn.request("GET", "/known")
        false = await inn.request("GET", "/known", headers={"authorization": "Bearer a.b.c"})
        other = await inn.request("GET", "/known", headers={"authorization": "Basic YTpi"})
        for_cooks.append(await inn.request("GET", "/cooks", headers=known))

    assert [answer.status for answer in (unproven, false, other)] == [401] * 3
    assert [answer.status for answer in for_cooks] == [403] * 2


@pytest.mark.parametrize("is_remembered", [False, True])
async def test_a_tenant_with_more_than_others_is_refused_and_a_small_one_served(
    inn: Harness, is_remembered: bool
) -> None:
    hog, small = ({"authorization": f"Bearer {inn.token(principal)}"} for principal in (HOG, SMALL))
    if is_remembered:
        assert [(await inn.request("GET", "/known", headers=each)).status for each in (hog, small)] == [200, 200]
    with crowded(inn, "hog"):
        assert [(await inn.request("GET", "/known", headers=each)).status for each in (hog, small)] == [503, 200]


async def test_a_predicate_that_fails_is_told_of_by_its_stage(inn: Harness) -> None:
    known = {"authorization": f"Bearer {inn.token(HOG)}"}
    assert (await inn.request("GET", "/known", headers=known)).status == 200
    with crowded(inn, "hog"):
        assert (await inn.request("GET", "/odd", headers=known)).status == 500


@pytest.mark.parametrize(
    ("section", "values", "is_shed"),
    [
        ("log", {"calls": "failed"}, True),
        ("log", {"calls": "refused"}, False),
        ("log", {"calls": "all"}, False),
        ("observe", {"traces": True}, False),
    ],
)
async def test_nothing_is_shed_where_somebody_wants_to_hear_of_each(
    section: str, values: dict[str, Any], is_shed: bool
) -> None:
    settings = Settings()
    settings = replace(settings, **{section: replace(getattr(settings, section), **values)})
    async with running(_app(), settings=settings) as harness:
        plans = harness.serving.system.plans

        assert (plans["inn.known"].shedding is not None) is is_shed
