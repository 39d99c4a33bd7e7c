"""The restaurant: what it promises to programs, to browsers, and to the people who work there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import chromium
import httpx
import pytest

from toque import Principal
from toque.cli.target import load_app
from toque.log.cursor import BEGINNING
from toque.settings import App as AppSettings
from toque.settings import Auth, Http, Secret, Settings
from toque.testing import Answer, Harness, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "restaurant"
PAGES = ("/", "/menu", "/waiter", "/kitchen")
STATUSES = ("placed", "cooking", "ready", "served")
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

ANA = Principal(subject="ana", roles=frozenset({"waiter"}))
BO = Principal(subject="bo", roles=frozenset({"cook"}))
GUEST = Principal(subject="gil", roles=frozenset({"guest"}))

SOUP_FOR_TWO = {"table": 4, "items": [{"dish_id": 1, "quantity": 2}]}

app = load_app(str(EXAMPLE))


@pytest.fixture
async def kitchen(database_url: str) -> AsyncIterator[Harness]:
    # On SQLite the harness copies a database that it seeded once, which is faster than making one.
    async with running(app, database_url="" if database_url.startswith("sqlite") else database_url) as harness:
        yield harness


async def placed(kitchen: Harness, status: str = "placed", order: dict[str, Any] = SOUP_FOR_TWO) -> int:
    """The id of a new order that has come as far as *status*."""
    order_id: int = (await kitchen.post("/orders", json=order, principal=ANA)).json()["id"]
    for each in STATUSES[1 : STATUSES.index(status) + 1]:
        assert (await moved(kitchen, order_id, each)).status == 200
    return order_id


async def moved(kitchen: Harness, order_id: int, status: str, who: Principal | None = BO) -> Answer:
    return await kitchen.post(f"/orders/{order_id}/status", json={"status": status}, principal=who)


def paths_of(answer: Answer) -> list[str]:
    return [fault["path"] for fault in answer.json()["faults"]]


# The menu.


async def test_guests_read_the_menu_without_signing_in(kitchen: Harness) -> None:
    answer = await kitchen.get("/menu")

    assert answer.status == 200
    dishes = [dish for course in answer.json()["courses"] for dish in course["dishes"]]
    assert len(dishes) >= 20
    assert {dish["station"] for dish in dishes} == {"grill", "cold", "pastry", "bar"}
    assert all(re.fullmatch(r"\d+\.\d\d", dish["price"]) for dish in dishes)


async def test_a_browser_gets_the_menu_as_a_page(kitchen: Harness) -> None:
    answer = await kitchen.get("/menu", headers=HTML)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "Steak frites" in answer.text
    assert "€24.50" in answer.text


# Placing an order.


async def test_the_dishes_of_a_station_fit_a_spreadsheet(kitchen: Harness) -> None:
    answer = await kitchen.get("/dishes?station=bar", headers={"accept": "text/csv"})

    lines = answer.text.splitlines()
    assert lines[0] == "id,name,description,price,station,is_vegetarian"
    assert len(lines) == 1 + 5
    assert all(",bar," in line for line in lines[1:])


async def test_a_waiter_places_an_order_and_finds_it_where_the_answer_says(kitchen: Harness) -> None:
    answer = await kitchen.post("/orders", json=SOUP_FOR_TWO, principal=ANA)

    assert answer.status == 201
    order = answer.json()
    soup = {"dish_id": 1, "name": "Onion soup", "station": "grill", "price": "9.50", "quantity": 2}
    assert (order["table"], order["status"], order["waiter"]) == (4, "placed", "ana")
    assert (order["items"], order["total"]) == ([soup], "19.00")
    assert answer.headers["location"] == f"/orders/{order['id']}"
    found = await kitchen.get(answer.headers["location"], principal=BO)
    assert found.json() == order


async def test_an_order_is_placed_by_name_as_it_is_by_path(kitchen: Harness) -> None:
    order = await kitchen.call("restaurant.place_order", principal=ANA, **SOUP_FOR_TWO)

    assert await kitchen.call("restaurant.get_order", principal=BO, id=order.id) == order


@pytest.mark.parametrize(("who", "status"), [(None, 401), (BO, 403), (GUEST, 403)])
async def test_only_waiters_place_orders(kitchen: Harness, who: Principal | None, status: int) -> None:
    answer = await kitchen.post("/orders", json=SOUP_FOR_TWO, principal=who)

    assert answer.status == status
    assert (await kitchen.get("/orders", principal=ANA)).json() == []


async def test_every_dish_that_is_not_on_the_menu_is_named(kitchen: Harness) -> None:
    items = [{"dish_id": dish_id, "quantity": 1} for dish_id in (1, 998, 2, 999)]

    answer = await kitchen.post("/orders", json={"table": 4, "items": items}, principal=ANA)

    assert (answer.status, answer.json()["code"]) == (422, "invalid")
    assert paths_of(answer) == ["$.items[1].dish_id", "$.items[3].dish_id"]
    assert (await kitchen.get("/orders", principal=ANA)).json() == []


@pytest.mark.parametrize(
    ("table", "items", "path"),
    [
        (0, [{"dish_id": 1, "quantity": 1}], "$.table"),
        (21, [{"dish_id": 1, "quantity": 1}], "$.table"),
        (4, [{"dish_id": 1, "quantity": 0}], "$.items[0].quantity"),
        (4, [{"dish_id": 1, "quantity": 51}], "$.items[0].quantity"),
        (4, [{"dish_id": 2**63, "quantity": 1}], "$.items[0].dish_id"),
        (4, [], "$.items"),
        (4, [{"dish_id": 1, "quantity": 1}] * 51, "$.items"),
    ],
)
async def test_an_order_has_bounds(kitchen: Harness, table: int, items: list[Any], path: str) -> None:
    answer = await kitchen.post("/orders", json={"table": table, "items": items}, principal=ANA)

    assert answer.status == 422
    assert paths_of(answer) == [path]


@pytest.mark.parametrize("table", [1, 20])
async def test_every_table_of_the_room_can_order(kitchen: Harness, table: int) -> None:
    answer = await kitchen.post("/orders", json={**SOUP_FOR_TWO, "table": table}, principal=ANA)

    assert (answer.status, answer.json()["table"]) == (201, table)


# What becomes of an order.


THREE_STATIONS = {"table": 4, "items": [{"dish_id": n, "quantity": 1} for n in (1, 2, 5)]}


async def test_the_stations_cook_an_order_and_the_last_one_makes_it_ready(
    kitchen: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restaurant.kitchen.COOKING", timedelta())
    order_id = await placed(kitchen, order=THREE_STATIONS)

    async with asyncio.timeout(30):
        while (await kitchen.get(f"/orders/{order_id}", principal=ANA)).json()["status"] != "ready":
            await asyncio.sleep(0.02)

    assert kitchen.serving.system.messages is not None
    entries, _ = await kitchen.serving.system.messages.reader.read(BEGINNING)
    assert [(entry.type, json.loads(entry.data)) for entry in entries] == [
        ("OrderPlaced", {"order": order_id, "stations": ["cold", "grill", "pastry"]}),
        ("OrderReady", {"order": order_id, "table": 4}),
    ]


async def test_a_cook_may_be_quicker_than_the_stations(kitchen: Harness) -> None:
    await placed(kitchen, "ready")

    assert kitchen.serving.system.messages is not None
    entries, _ = await kitchen.serving.system.messages.reader.read(BEGINNING)
    assert [entry.type for entry in entries] == ["OrderPlaced", "OrderReady"]


# Looking at orders.


async def test_orders_are_listed_by_status_the_newest_first(kitchen: Harness) -> None:
    first, second = await placed(kitchen), await placed(kitchen)
    cooking = await placed(kitchen, "cooking")

    async def listed(target: str) -> list[int]:
        return [order["id"] for order in (await kitchen.get(target, principal=BO)).json()]

    assert await listed("/orders?status=placed") == [second, first]
    assert await listed("/orders?status=cooking") == [cooking]
    assert await listed("/orders?status=served") == []
    assert await listed("/orders") == [cooking, second, first]


async def test_a_status_that_does_not_exist_is_refused(kitchen: Harness) -> None:
    listed = await kitchen.get("/orders?status=burnt", principal=ANA)
    answer = await moved(kitchen, await placed(kitchen), "burnt")

    assert (listed.status, paths_of(listed)) == (422, ["$.status"])
    assert (answer.status, paths_of(answer)) == (422, ["$.status"])


@pytest.mark.parametrize("target", ["/orders", "/orders/1"])
@pytest.mark.parametrize(("who", "status"), [(None, 401), (GUEST, 403)])
async def test_guests_do_not_see_orders(kitchen: Harness, target: str, who: Principal | None, status: int) -> None:
    await placed(kitchen)

    assert (await kitchen.get(target, principal=who)).status == status


async def test_an_order_that_nobody_placed_is_not_found(kitchen: Harness) -> None:
    assert (await kitchen.get("/orders/77", principal=ANA)).status == 404
    assert (await moved(kitchen, 77, "cooking")).status == 404


# Cooking.


async def test_a_cook_brings_an_order_from_placed_to_served(kitchen: Harness) -> None:
    order_id = await placed(kitchen)

    for status in ("cooking", "ready", "served"):
        answer = await moved(kitchen, order_id, status)
        assert (answer.status, answer.json()["status"]) == (200, status)

    assert (await kitchen.get(f"/orders/{order_id}", principal=ANA)).json()["status"] == "served"


@pytest.mark.parametrize("status", STATUSES)
async def test_an_order_goes_no_other_way(kitchen: Harness, status: str) -> None:
    order_id = await placed(kitchen, status)

    for target in {*STATUSES} - {*STATUSES[STATUSES.index(status) + 1 :][:1]}:
        answer = await moved(kitchen, order_id, target)
        assert (answer.status, answer.json()["code"]) == (409, "illegal_move"), target

    assert (await kitchen.get(f"/orders/{order_id}", principal=BO)).json()["status"] == status


@pytest.mark.parametrize(("who", "status"), [(None, 401), (ANA, 403)])
async def test_only_cooks_move_orders(kitchen: Harness, who: Principal | None, status: int) -> None:
    order_id = await placed(kitchen)

    assert (await moved(kitchen, order_id, "cooking", who)).status == status
    assert (await kitchen.get(f"/orders/{order_id}", principal=BO)).json()["status"] == "placed"


async def test_of_cooks_who_take_the_same_order_at_once_one_gets_it(kitchen: Harness) -> None:
    order_id = await placed(kitchen)

    answers = await asyncio.gather(*(moved(kitchen, order_id, "cooking") for _ in range(4)))

    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]


# Pages.


class Page(HTMLParser):
    """What a page loads, and what a strict content security policy would refuse."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.refused: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.refused += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.refused.append(tag)
        if tag in ("script", "img"):
            self.loads.append(values.get("src") or "")
        if tag == "link":
            self.loads.append(values.get("href") or "")


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_scripts_and_styles_from_files_of_its_own(kitchen: Harness, path: str) -> None:
    answer = await kitchen.get(path, headers=HTML)
    page = Page(answer.text)

    assert answer.status == 200
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert page.refused == []
    assert "/assets/restaurant.css" in page.loads
    for file in page.loads:
        assert (await kitchen.get(file)).status == 200, file


# As it is served.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the restaurant, served by `toque run` from a copy of its folder, with a new database."""
    folder = tmp_path_factory.mktemp("served") / "restaurant"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".toque", "__pycache__"))
    command = [sys.executable, "-m", "toque", "run", str(folder), "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TOQUE_")}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, env=environment, **output) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, f"whoever starts it for the first time hears {line!r} before its address"
            yield address[0]
        finally:
            process.terminate()


@pytest.mark.parametrize(("role", "status"), [("waiter", 201), ("cook", 403)])
def test_in_development_a_name_is_enough_to_sign_in(served: str, role: str, status: int) -> None:
    with httpx.Client(base_url=served, trust_env=False) as client:
        token = client.post("/sign-in", json={"name": "ana", "role": role}).json()["token"]
        answer = client.post("/orders", json=SOUP_FOR_TWO, headers={"authorization": f"Bearer {token}"})

    assert answer.status_code == status


def test_signing_in_needs_a_name_and_a_role_that_exists(served: str) -> None:
    with httpx.Client(base_url=served, trust_env=False) as client:
        for body in ({"name": "", "role": "waiter"}, {"name": "ana", "role": "owner"}):
            assert client.post("/sign-in", json=body).status_code == 422


@pytest.mark.parametrize(
    "settings",
    [
        Settings(
            app=AppSettings(environment="production"),
            http=Http(hosts=("localhost",)),
            auth=Auth(key=Secret("k" * 32), audience=("restaurant",)),
        ),
        Settings(auth=Auth(key=Secret("k" * 32), audience=("restaurant",))),
    ],
    ids=["production", "an issuer's key"],
)
async def test_where_tokens_have_an_issuer_a_name_is_not_enough(settings: Settings) -> None:
    async with running(app, settings=settings) as kitchen:
        answer = await kitchen.post("/sign-in", json={"name": "ana", "role": "waiter"})

    assert answer.status == 403


@pytest.fixture
async def browser() -> AsyncIterator[chromium.Browser]:
    if chromium.PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must test the pages in a browser: install chromium.")
        pytest.skip("no browser: install chromium")
    async with chromium.browser() as browser:
        yield browser


async def signed_in(browser: chromium.Browser, url: str, name: str) -> chromium.Window:
    window = await browser.open(url)
    await window.until("!document.getElementById('sign-in').hidden")
    await window.write("#name", name)
    await window.click("#sign-in button")
    await window.until("!document.getElementById('work').hidden")
    return window


async def test_an_order_is_placed_in_one_window_and_cooked_in_another(served: str, browser: chromium.Browser) -> None:
    floor = await signed_in(browser, f"{served}/waiter", "Ana")
    await floor.click("input[name=table][value='12']")
    await floor.click("button[aria-label='One more: Steak frites']")
    await floor.click("button[aria-label='One more: Steak frites']")
    await floor.click("button[aria-label='One more: Coffee']")
    await floor.see("€51.80")
    await floor.click("#order .sum button")
    await floor.see("for table 12 is in the kitchen.")

    kitchen = await signed_in(browser, f"{served}/kitchen", "Bo")
    for label, status in (("Start cooking", "cooking"), ("Ready", "ready"), ("Served", "served")):
        await kitchen.until(f'!!document.querySelector(\'[aria-label^="{label}: "][aria-label$=" table 12"]\')')
        await kitchen.click(f'[aria-label^="{label}: "][aria-label$=" table 12"]')
        await kitchen.see(f"table 12: {status}.")

    await floor.command("Page.bringToFront")
    await floor.until("document.querySelector('#orders li').dataset.status === 'served'")


async def test_two_browsers_see_the_same_order_as_it_goes_on(served: str, browser: chromium.Browser) -> None:
    async with chromium.browser() as elsewhere:
        floor = await signed_in(browser, f"{served}/waiter", "Ana")
        kitchen = await signed_in(elsewhere, f"{served}/kitchen", "Bo")
        # Until both follow, and ask no more.
        await kitchen.until("performance.getEntriesByType('resource').length > 0")
        await counted(floor)
        await counted(kitchen)

        await floor.click("input[name=table][value='7']")
        await floor.click("button[aria-label='One more: Coffee']")
        await floor.click("#order .sum button")
        await kitchen.see("Table 7")
        await kitchen.click('[aria-label^="Start cooking: "][aria-label$=" table 7"]')
        await floor.until("document.querySelector('#orders li').dataset.status === 'cooking'")

        assert await floor.run("window.asked") == ["/orders"], "the order itself was sent, and nothing was asked again"
        assert await kitchen.run("window.asked.map((path) => path.split('/').pop())") == ["status"]


async def counted(window: chromium.Window) -> None:
    """Have the page note from now on what it asks the server for."""
    await window.run(
        "window.asked = []; const ask = window.fetch;"
        "window.fetch = (path, options) => { window.asked.push(path); return ask(path, options) }"
    )


async def test_a_browser_follows_the_menu_by_itself(served: str, browser: chromium.Browser) -> None:
    window = await browser.open(f"{served}/menu")

    await window.run(
        "window.menu = null; new EventSource('/menu').onmessage = ({ data }) => { menu = JSON.parse(data) }"
    )

    await window.until("menu?.courses.length > 3")
