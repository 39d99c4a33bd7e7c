"""Requests that come again word for word: answered like all others, and read no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kitchen_of_callers import make_app
from test_cached_queries import ANN, _figures, _settle

from toque.settings import Cache, Http, Log, Settings
from toque.testing import Answer, Harness, running
from toque.transports.repeats import REQUESTS_MAX, WORDINGS_MAX, Led, Repeats


@pytest.fixture
async def kitchen(database_url: str) -> AsyncIterator[Harness]:
    async with running(make_app(), settings=Settings(cache=Cache()), database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(kitchen)
        yield kitchen


async def _asked(kitchen: Harness, target: str, times: int = 3, **options: Any) -> list[Answer]:
    return [await kitchen.get(target, **options) for _ in range(times)]


def _told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, answer.headers.items(), answer.content


async def test_the_third_request_is_not_read_and_is_answered_like_the_second(kitchen: Harness) -> None:
    first, second, third = await _asked(kitchen, "/dishes")

    assert first.headers["cache-status"] == "toque; fwd=miss; stored"
    assert _told(second) == _told(third)
    figures = _figures(kitchen, "list_dishes")
    assert (figures.runs, figures.hits, figures.repeated) == (1, 2, 1)
    assert kitchen.serving.system.figures["kitchen.list_dishes"].codes == {"ok": 3}


async def test_each_wording_has_its_own_form(kitchen: Harness) -> None:
    for number in range(2, 90):
        await kitchen.call("kitchen.add_dish", id=number, name=f"dish {number}", price=number)
    await _settle(kitchen)
    for accept in ("application/json", "application/msgpack"):
        for coding in ("identity", "gzip"):
            headers = {"accept": accept, "accept-encoding": coding}
            _, second, third = await _asked(kitchen, "/dishes", headers=headers)
            assert _told(second) == _told(third)
            known = {**headers, "if-none-match": third.headers["etag"]}
            *_, told, again = await _asked(kitchen, "/dishes", headers=known)
            assert (again.status, again.content) == (304, b"")
            assert _told(told) == _told(again)
    assert _figures(kitchen, "list_dishes").runs == 1
    assert _figures(kitchen, "list_dishes").repeated > 0


async def test_head_is_answered_without_a_body(kitchen: Harness) -> None:
    await _asked(kitchen, "/dishes")
    told = await kitchen.request("HEAD", "/dishes")
    assert (told.status, told.content) == (200, b"")
    assert _figures(kitchen, "list_dishes").repeated == 2


async def test_after_a_change_nobody_is_given_what_was(kitchen: Harness) -> None:
    for price in range(10, 30):
        await kitchen.call("kitchen.set_price", id=1, price=price)
        assert [answer.json()["price"] for answer in await _asked(kitchen, "/dishes/1")] == [price] * 3
    assert _figures(kitchen, "get_dish").repeated > 0


async def test_what_a_strict_query_answers_includes_what_another_process_has_just_committed(
    kitchen: Harness, database_url: str
) -> None:
    async with running(make_app(), settings=Settings(cache=Cache()), database_url=database_url) as other:
        await _asked(kitchen, "/strict")
        for price in range(10, 30):
            await other.call("kitchen.set_price", id=1, price=price)
            assert (await kitchen.get("/strict")).json()[0]["price"] == price


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "no-cache"},
        {"cache-control": "max-age=1"},
        {"cache-control": "no-store"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"cookie": "x" * 3_000},
    ],
    ids=["no-cache", "max-age", "no-store", "trace", "long"],
)
async def test_a_request_that_demands_something_is_read_each_time(kitchen: Harness, headers: dict[str, str]) -> None:
    await _asked(kitchen, "/dishes", 4, headers=headers)
    assert _figures(kitchen, "list_dishes").repeated == 0


async def test_a_caller_who_says_what_he_has_committed_is_read_each_time(kitchen: Harness) -> None:
    done = await kitchen.post("/price", json={"id": 1, "price": 6})
    mark = done.headers.get("toque-mark")
    if mark is None:
        return  # On SQLite nobody has to say so.
    assert {answer.json()["price"] for answer in await _asked(kitchen, "/dishes/1", headers={"toque-mark": mark})} == {
        6
    }
    assert _figures(kitchen, "get_dish").repeated == 0


async def test_who_shows_a_credential_is_proven_each_time(kitchen: Harness) -> None:
    answers = await _asked(kitchen, "/both", 4, principal=ANN)
    refused = await kitchen.get("/both", headers={"authorization": "Bearer nonsense"})

    assert {answer.status for answer in answers} == {200}
    assert refused.status == 401
    assert _figures(kitchen, "list_both").repeated == 0


async def test_what_turns_out_to_be_about_the_caller_is_read_each_time(kitchen: Harness) -> None:
    await kitchen.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
    await _settle(kitchen)
    assert [answer.json()["dishes"] for answer in await _asked(kitchen, "/both")] == [[]] * 3
    repeated = _figures(kitchen, "list_both").repeated
    assert repeated == 1

    # From now on the query asks who calls, whose notes it reads.
    await kitchen.call("kitchen.set_price", id=1, price=4)
    await _settle(kitchen)
    assert [answer.json()["notes"] for answer in await _asked(kitchen, "/both", principal=ANN)] == [
        [{"id": 1, "text": "of ann"}]
    ] * 3
    assert [answer.json()["notes"] for answer in await _asked(kitchen, "/both")] == [[]] * 3
    assert _figures(kitchen, "list_both").repeated == repeated


async def test_a_host_that_is_not_ours_is_refused_though_the_path_is_known(kitchen: Harness) -> None:
    await _asked(kitchen, "/dishes")
    assert (await kitchen.get("/dishes", headers={"host": "example.com"})).status == 421


async def test_where_each_call_is_told_of_none_is_passed_over(database_url: str) -> None:
    settings = Settings(cache=Cache(), log=Log(calls="all"), http=Http())
    async with running(make_app(), settings=settings, database_url=database_url) as kitchen:
        await _asked(kitchen, "/dishes", 4)
        assert _figures(kitchen, "list_dishes").repeated == 0


async def test_hits_that_are_verified_are_run_again(database_url: str) -> None:
    settings = Settings(cache=Cache(verify="all"))
    async with running(make_app(), settings=settings, database_url=database_url) as kitchen:
        await _asked(kitchen, "/dishes", 4)
        await asyncio.sleep(0)
        assert (_figures(kitchen, "list_dishes").verified, _figures(kitchen, "list_dishes").repeated) == (3, 0)


@pytest.mark.parametrize("has_own_headers", [False, True])
def test_of_the_requests_those_that_still_come_are_kept(has_own_headers: bool) -> None:
    repeats, led = Repeats(lambda _: None), Led("key", "form")
    most = WORDINGS_MAX if has_own_headers else REQUESTS_MAX
    requests = [(f"/{n}", "", [("accept", str(n) if has_own_headers else "x")]) for n in range(5 * most)]
    repeats.add("/hot", "", [], led)
    for number, request in enumerate(requests):
        repeats.add(*request, led)
        if number % 1_000 == 0:
            assert repeats.find("/hot", "", []) is led
    assert repeats.find(*requests[0]) is None
    assert most / 2 < sum(repeats.find(*request) is not None for request in requests) <= 2 * most


def test_requests_of_one_path_are_told_apart_by_their_queries_and_headers() -> None:
    repeats = Repeats(lambda _: None)
    wordings = [("", []), ("page=2", []), ("", [("accept", "text/csv")]), ("", [("accept", "text/csv"), ("x", "1")])]
    leads = [Led("key", number) for number in range(len(wordings))]
    for (query, headers), led in zip(wordings, leads, strict=True):
        repeats.add("/dishes", query, headers, led)

    for order in (wordings, wordings[::-1], wordings * 2):
        found = [repeats.find("/dishes", query, list(headers)) for query, headers in order]
        assert found == [leads[wordings.index(each)] for each in order]
    assert repeats.find("/dishes", "", [("accept", "text/html")]) is None
    assert repeats.find("/other", "", []) is None
