"""Answers from memory over HTTP: tags, 304, what a request may demand, and one's own commits in another process."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest
from kitchen_of_callers import Dish, make_app
from sqlalchemy import select
from test_cached_queries import ANN, BOB, _figures, _settle, kitchens  # noqa: F401 - a fixture

from toque import Database, Header, public
from toque.contract.freshness import BYPASS, STRICT, Freshness
from toque.settings import Http, Settings
from toque.testing import Harness, running
from toque.testing.postgres import PrivatePostgres
from toque.transports.kept_forms import freshness_of


@pytest.fixture
def kitchen(kitchens: tuple[Harness, Harness]) -> Harness:  # noqa: F811
    return kitchens[0]


async def test_a_client_who_has_the_answer_is_told_so_without_a_run(kitchen: Harness) -> None:
    first = await kitchen.get("/dishes")
    again = await kitchen.get("/dishes", headers={"if-none-match": first.headers["etag"]})

    assert (first.status, first.headers["cache-status"]) == (200, "toque; fwd=miss; stored")
    assert (again.status, again.content, again.headers["cache-status"]) == (304, b"", "toque; hit")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == again.headers["cache-control"] == "public, no-cache"
    assert _figures(kitchen, "list_dishes").runs == 1
    await kitchen.call("kitchen.set_price", id=1, price=6)
    changed = await kitchen.get("/dishes", headers={"if-none-match": first.headers["etag"]})
    assert (changed.status, changed.json()[0]["price"]) == (200, 6)
    assert changed.headers["etag"] != first.headers["etag"]


async def test_who_wants_a_version_that_is_gone_is_told_so(kitchen: Harness) -> None:
    tag = (await kitchen.get("/dishes")).headers["etag"]
    for _ in range(3):
        assert (await kitchen.get("/dishes", headers={"if-match": f'"old", {tag}'})).status == 200
        refused = await kitchen.get("/dishes", headers={"if-match": '"old"'})
        assert (refused.status, refused.json()["code"]) == (412, "precondition_failed")


async def test_each_format_and_coding_has_a_tag_of_its_own(kitchen: Harness) -> None:
    for number in range(2, 90):
        await kitchen.call("kitchen.add_dish", id=number, name=f"dish {number}", price=number)
    await _settle(kitchen)
    tags = set()
    for accept in ("application/json", "application/msgpack"):
        for coding in ("identity", "gzip"):
            answers = [
                await kitchen.get("/dishes", headers={"accept": accept, "accept-encoding": coding}) for _ in range(2)
            ]
            assert answers[0].content == answers[1].content
            assert answers[0].headers.get("content-encoding", "identity") == coding
            assert answers[0].headers["vary"] == "accept, accept-encoding"
            tags.add(answers[0].headers["etag"])
    assert len(tags) == 4
    assert _figures(kitchen, "list_dishes").runs == 1


async def test_an_answer_varies_by_the_headers_that_are_its_inputs(kitchen: Harness) -> None:
    for language in ("de", "fr", "de"):
        answer = await kitchen.get("/greeting", headers={"accept-language": language})
        assert answer.json() == f"{language}: soup"
        assert answer.headers["cache-control"].startswith("public")
        assert answer.headers["vary"] == "accept, accept-language"


async def test_what_was_asked_about_the_caller_is_private(kitchen: Harness) -> None:
    await kitchen.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
    await kitchen.call("kitchen.add_note", id=2, text="of bob", principal=BOB)
    of_ann = [await kitchen.get("/notes", principal=ANN) for _ in range(3)][-1]
    of_bob = await kitchen.get("/notes", principal=BOB, headers={"if-none-match": of_ann.headers["etag"]})

    assert of_ann.headers["cache-control"] == "private, no-cache"
    assert "authorization" in of_ann.headers["vary"]
    assert (of_bob.status, of_bob.json()) == (200, [{"id": 2, "text": "of bob"}])
    assert (await kitchen.get("/notes", headers={"if-none-match": of_ann.headers["etag"]})).status == 401


async def test_a_query_that_is_given_its_caller_is_kept_for_one_with_a_token(kitchen: Harness) -> None:
    answer = await kitchen.get("/me", principal=ANN)

    assert (answer.json(), answer.headers["cache-status"]) == ("ann: soup", "toque; fwd=miss; stored")


async def test_a_request_may_demand_more_than_the_operation_says(kitchen: Harness) -> None:
    await kitchen.get("/dishes")
    await kitchen.get("/dishes")
    for demand in ("no-cache", "max-age=0", "max-age=60"):
        answer = await kitchen.get("/dishes", headers={"cache-control": demand})
        assert answer.headers["cache-status"] == "toque; hit", demand
    runs = _figures(kitchen, "list_dishes").runs
    past = await kitchen.get("/dishes", headers={"cache-control": "no-store"})
    assert past.headers["cache-status"] == "toque; fwd=request"
    assert past.headers.get("etag") is None
    assert _figures(kitchen, "list_dishes").runs == runs


async def test_own_commits_are_seen_in_every_process(kitchens: tuple[Harness, Harness]) -> None:  # noqa: F811
    first, second = kitchens
    for price in range(10, 40):
        await second.get("/dishes/1")
        done = await first.post("/price", json={"id": 1, "price": price})
        headers = {"toque-mark": done.headers["toque-mark"]} if "toque-mark" in done.headers else {}
        assert (await second.get("/dishes/1", headers=headers)).json()["price"] == price


async def test_browsers_keep_a_mark_for_as_long_as_an_answer_may_miss_it(postgres: PrivatePostgres) -> None:
    """It was 5 s, and then another process's memory gave those with `freshness=60` an answer from before their commit."""
    app = make_app()

    @app.query("/old", allow=public, freshness=60)
    async def old(db: Database) -> int:
        return len(await db.all(int, select(Dish.id)))

    url = postgres.create_database()
    async with running(app, database_url=url) as kitchen:
        done = await kitchen.post("/dishes", json={"id": 1, "name": "soup", "price": 5})
        assert "; Max-Age=64;" in done.headers["set-cookie"]
    async with running(make_app(), database_url=url) as kitchen:
        done = await kitchen.post("/dishes", json={"id": 2, "name": "pie", "price": 5})
        assert "; Max-Age=5;" in done.headers["set-cookie"]
    postgres.drop_database(url)


async def test_answers_say_by_which_headers_they_differ(database_url: str) -> None:
    app = make_app()

    @app.query("/hello", allow=public)
    async def hello(db: Database, lang: Annotated[str, Header("Accept-Language")] = "en") -> str:
        return f"{lang} {len(await db.all(int, select(Dish.id)))}"

    @app.query("/anew", allow=public, cached=False)
    async def anew(lang: Annotated[str, Header("Accept-Language")] = "en") -> str:
        return lang

    settings = Settings(http=Http(cors_origins=("https://a.example",)))
    async with running(app, settings=settings, database_url=database_url) as kitchen:
        for path in ("/hello", "/anew"):
            for lang in ("de", "fr"):
                for origin in ({}, {"origin": "https://a.example"}, {"origin": "https://b.example"}):
                    answer = await kitchen.get(path, headers={"accept-language": lang, **origin})

                    assert answer.json()[:2] == lang
                    assert ", ".join(answer.headers.get_all("vary")) == "accept, accept-language, origin"
                    may_read = answer.headers.get("access-control-allow-origin")
                    assert may_read == ("https://a.example" if origin.get("origin") == "https://a.example" else None)


@pytest.mark.parametrize("mark", ["0.99999999999999.abc", "0.1.abc", "0.x.abc", "1.2", "....", "0.1." + "a" * 99, ""])
async def test_a_mark_that_somebody_made_up_does_no_harm(kitchen: Harness, mark: str) -> None:
    for _ in range(2):
        async with asyncio.timeout(30):
            assert (await kitchen.get("/dishes/1", headers={"toque-mark": mark})).json()["price"] == 5


@pytest.mark.parametrize(
    ("text", "demand"),
    [
        (None, None),
        ("", None),
        ("max-stale=5, foo", None),
        ("max-age=x", None),
        ("max-age=-1", None),
        ("max-age=5", Freshness(bound_s=5)),
        ("max-age=0", STRICT),
        ("No-Cache", STRICT),
        ("max-age=7, no-cache", STRICT),
        ("no-cache, no-store", BYPASS),
    ],
)
def test_what_cache_control_demands(text: str | None, demand: Freshness | None) -> None:
    assert freshness_of(text) == demand
