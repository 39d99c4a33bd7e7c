from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import kitchen_models as models
import pytest
from sqlalchemy import insert

from toque.store import Store, open_store


@pytest.fixture
def metadata() -> Any:
    return models.KitchenModel.metadata


@pytest.fixture
async def kitchen(store: Store) -> Store:
    """A store with three dishes, two tags, two orders."""

    async def fill(db: Any) -> None:
        names = ("soup", "fish", "cake")
        await db.execute(insert(models.Dish), [{"name": name, "price": Decimal(i) + 1} for i, name in enumerate(names)])
        await db.execute(insert(models.Tag), [{"word": "hot"}, {"word": "vegan"}])
        await db.execute(
            insert(models.dish_tag),
            [{"dish_id": 1, "tag_id": 1}, {"dish_id": 1, "tag_id": 2}, {"dish_id": 2, "tag_id": 1}],
        )
        for table in (4, 5):
            order = await db.scalar(insert(models.Order).values(table_no=table).returning(models.Order.id))
            await db.execute(insert(models.Item), [{"order_id": order, "dish_id": d, "quantity": d} for d in (1, 2)])

    await store.command(fill)
    return store


@pytest.fixture
async def observed(kitchen: Store) -> AsyncIterator[tuple[Store, list[str]]]:
    """A second store on the same database, and the SQL that it runs."""
    statements: list[str] = []
    observer: Callable[..., None] = lambda statement: statements.append(statement.sql)  # noqa: E731
    store = open_store(kitchen.url, observer=observer)
    await store.start()
    yield store, statements
    await store.stop()
