"""The example's own queries, nested views and all: every answer from memory is run again and compared."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from toque import Principal
from toque.cli.target import load_app
from toque.contract.errors import NotFound
from toque.settings import Cache, Settings
from toque.store.schema import with_connection
from toque.testing import Harness, running

app = load_app(str(Path(__file__).parents[2] / "examples" / "restaurant"))

WAITER = Principal(subject="ann", roles=frozenset({"waiter"}))
COOK = Principal(subject="bob", roles=frozenset({"cook"}))
QUERIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("show_menu", {}),
    ("list_dishes", {}),
    ("list_dishes", {"station": "grill"}),
    ("list_orders", {}),
    ("list_orders", {"status": "placed"}),
    ("list_orders", {"status": "cooking"}),
    ("get_order", {"id": 1}),
    ("get_order", {"id": 2}),
)
PAST_THE_APP = (
    "UPDATE dish SET price = price + 1 WHERE id = {n}",
    "UPDATE dish SET name = 'dish {n}' WHERE id = {n}",
    "UPDATE order_item SET quantity = quantity + 1 WHERE id = {n}",
    "DELETE FROM order_item WHERE id = {n}",
    "UPDATE course SET name = 'course {n}' WHERE id = {n}",
)


async def _change(restaurant: Harness, random: Random) -> None:
    store = restaurant.serving.system.store
    assert store is not None
    n = 1 + random.randrange(4)
    if random.random() < 0.4:
        items = [{"dish_id": 1 + random.randrange(4), "quantity": 1 + random.randrange(3)}]
        done = await restaurant.post("/orders", json={"table": n, "items": items}, principal=WAITER)
        assert done.status == 201, done.text
    elif random.random() < 0.4:
        status = random.choice(("cooking", "ready", "served"))
        done = await restaurant.post(f"/orders/{n}/status", json={"status": status}, principal=COOK)
        assert done.status in (200, 404, 409), done.text
    else:
        statement = random.choice(PAST_THE_APP).format(n=n)
        await asyncio.to_thread(with_connection, store.url, lambda connection: connection.exec_driver_sql(statement))


async def test_no_answer_of_the_example_is_old(database_url: str) -> None:
    random, settings = Random(3), Settings(cache=Cache(verify="all"))
    async with running(app, settings=settings, database_url=database_url) as restaurant:
        for _ in range(25):
            await _change(restaurant, random)
            for name, inputs in random.choices(QUERIES, k=12):
                with suppress(NotFound):
                    await restaurant.call(f"restaurant.{name}", principal=random.choice((WAITER, COOK)), **inputs)
        cache = restaurant.serving.system.cache
        assert cache is not None
        figures = {name: query.figures for name, query in cache.queries.items()}
        assert [name for name, each in figures.items() if each.wrong] == []
        assert sum(each.verified for each in figures.values()) > 25
